#include "server/service/api_services.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "api/support/resource_name.h"
#include "nestor/v1/host_service.grpc.pb.h"
#include "nestor/v1/pasid_binding_service.grpc.pb.h"
#include "nestor/v1/virtual_machine_service.grpc.pb.h"
#include "nestor/v1/watch_service.grpc.pb.h"
#include "server/core/explain.h"
#include "server/core/intent.h"
#include "server/core/list_query.h"
#include "server/core/timeline.h"
#include "server/service/caller.h"
#include "server/service/invalidate_call.h"
#include "server/service/parked_calls.h"
#include "server/service/unary_call.h"
#include "server/service/wait_call.h"
#include "server/service/watch_call.h"

namespace nestor::server {
namespace {

using Context = grpc::CallbackServerContext;
using Reactor = grpc::ServerUnaryReactor;

// The scope of the request_ids of host methods; no project is named so.
constexpr absl::string_view kHosts = "-";

// The scope of a request_id below a project.
std::string ProjectOf(const std::string& name) {
  constexpr size_t kPrefix = sizeof("projects/") - 1;
  const size_t end = name.find('/', kPrefix);
  return end == std::string::npos ? "" : name.substr(kPrefix, end - kPrefix);
}

class HostServiceImpl final : public v1::HostService::CallbackService {
 public:
  HostServiceImpl(ClusterState& state, UidSource uids) : state_(state), uids_(std::move(uids)) {}

  Reactor* CreateHost(Context* context, const v1::CreateHostRequest* request,
                      v1::Host* response) override {
    return MutateCall(context, state_, kHosts, *request, response,
                      [this, request](const View& view, absl::Time now) {
                        return server::CreateHost(view, now, uids_, *request);
                      });
  }
  Reactor* UpdateHost(Context* context, const v1::UpdateHostRequest* request,
                      v1::Host* response) override {
    return MutateCall(context, state_, kHosts, *request, response,
                      [request](const View& view, absl::Time now) {
                        return server::UpdateHost(view, now, *request);
                      });
  }
  Reactor* DeleteHost(Context* context, const v1::DeleteHostRequest* request,
                      google::protobuf::Empty* response) override {
    return MutateCall(
        context, state_, kHosts, *request, response,
        [request](const View& view, absl::Time) { return server::DeleteHost(view, *request); });
  }
  Reactor* GetHost(Context* context, const v1::GetHostRequest* request,
                   v1::Host* response) override {
    return ReadCall(context, state_, *request, response,
                    [&](const View& view) -> absl::StatusOr<v1::Host> {
                      const std::string id = HostName::Parse(request->name())->host;
                      if (view.FindHost(id) == nullptr) return errors::NotFound(request->name());
                      return view.HostResource(id);
                    });
  }
  Reactor* ListHosts(Context* context, const v1::ListHostsRequest* request,
                     v1::ListHostsResponse* response) override {
    return ReadCall(context, state_, *request, response,
                    [&](const View& view) { return List(view, *request); });
  }
  Reactor* GetDevice(Context* context, const v1::GetDeviceRequest* request,
                     v1::Device* response) override {
    return ReadCall(context, state_, *request, response,
                    [&](const View& view) -> absl::StatusOr<v1::Device> {
                      const DeviceName name = *DeviceName::Parse(request->name());
                      v1::Device device = view.DeviceResource(name.host, name.bdf);
                      if (device.name().empty()) return errors::NotFound(request->name());
                      return device;
                    });
  }
  Reactor* ListDevices(Context* context, const v1::ListDevicesRequest* request,
                       v1::ListDevicesResponse* response) override {
    return ReadCall(context, state_, *request, response,
                    [&](const View& view) { return List(view, *request); });
  }

 private:
  ClusterState& state_;
  const UidSource uids_;
};

class VirtualMachineServiceImpl final : public v1::VirtualMachineService::CallbackService {
 public:
  VirtualMachineServiceImpl(ClusterState& state, UidSource uids)
      : state_(state), uids_(std::move(uids)) {}

  Reactor* CreateVirtualMachine(Context* context, const v1::CreateVirtualMachineRequest* request,
                                v1::VirtualMachine* response) override {
    return MutateCall(context, state_, ProjectOf(request->virtual_machine().name()), *request,
                      response, [this, request](const View& view, absl::Time now) {
                        return server::CreateVirtualMachine(view, now, uids_, *request);
                      });
  }
  Reactor* UpdateVirtualMachine(Context* context, const v1::UpdateVirtualMachineRequest* request,
                                v1::VirtualMachine* response) override {
    return MutateCall(context, state_, ProjectOf(request->virtual_machine().name()), *request,
                      response, [request](const View& view, absl::Time now) {
                        return server::UpdateVirtualMachine(view, now, *request);
                      });
  }
  Reactor* DeleteVirtualMachine(Context* context, const v1::DeleteVirtualMachineRequest* request,
                                v1::VirtualMachine* response) override {
    return MutateCall(context, state_, ProjectOf(request->name()), *request, response,
                      [request](const View& view, absl::Time now) {
                        return server::DeleteVirtualMachine(view, now, *request);
                      });
  }
  Reactor* ApplyVirtualMachine(Context* context, const v1::ApplyVirtualMachineRequest* request,
                               v1::ApplyVirtualMachineResponse* response) override {
    return MutateCall(context, state_, ProjectOf(request->virtual_machine().name()), *request,
                      response, [this, request](const View& view, absl::Time now) {
                        return server::ApplyVirtualMachine(view, now, uids_, *request);
                      });
  }
  Reactor* GetVirtualMachine(Context* context, const v1::GetVirtualMachineRequest* request,
                             v1::VirtualMachine* response) override {
    return ReadCall(context, state_, *request, response,
                    [&](const View& view) -> absl::StatusOr<v1::VirtualMachine> {
                      if (view.FindVirtualMachine(request->name()) == nullptr) {
                        return errors::NotFound(request->name());
                      }
                      return view.VirtualMachineResource(request->name());
                    });
  }
  Reactor* ListVirtualMachines(Context* context, const v1::ListVirtualMachinesRequest* request,
                               v1::ListVirtualMachinesResponse* response) override {
    return ReadCall(context, state_, *request, response,
                    [&](const View& view) { return List(view, *request); });
  }

 private:
  ClusterState& state_;
  const UidSource uids_;
};

class PasidBindingServiceImpl final : public v1::PasidBindingService::CallbackService {
 public:
  PasidBindingServiceImpl(ClusterState& state, AgentSessions& sessions, UidSource uids,
                          ParkedCalls& parked)
      : state_(state), sessions_(sessions), uids_(std::move(uids)), parked_(parked) {}

  Reactor* CreatePasidBinding(Context* context, const v1::CreatePasidBindingRequest* request,
                              v1::PasidBinding* response) override {
    return MutateCall(context, state_, ProjectOf(request->pasid_binding().name()), *request,
                      response, [this, request](const View& view, absl::Time now) {
                        return server::CreatePasidBinding(view, now, uids_, *request);
                      });
  }
  Reactor* UpdatePasidBinding(Context* context, const v1::UpdatePasidBindingRequest* request,
                              v1::PasidBinding* response) override {
    return MutateCall(context, state_, ProjectOf(request->pasid_binding().name()), *request,
                      response, [request](const View& view, absl::Time now) {
                        return server::UpdatePasidBinding(view, now, *request);
                      });
  }
  Reactor* DeletePasidBinding(Context* context, const v1::DeletePasidBindingRequest* request,
                              v1::PasidBinding* response) override {
    return MutateCall(context, state_, ProjectOf(request->name()), *request, response,
                      [request](const View& view, absl::Time now) {
                        return server::DeletePasidBinding(view, now, *request);
                      });
  }
  Reactor* BatchCreatePasidBindings(Context* context,
                                    const v1::BatchCreatePasidBindingsRequest* request,
                                    v1::BatchCreatePasidBindingsResponse* response) override {
    const std::string project =
        request->requests().empty() ? "" : ProjectOf(request->requests(0).pasid_binding().name());
    return MutateCall(context, state_, project, *request, response,
                      [this, request](const View& view, absl::Time now) {
                        return server::BatchCreatePasidBindings(view, now, uids_, *request);
                      });
  }
  Reactor* BatchDeletePasidBindings(Context* context,
                                    const v1::BatchDeletePasidBindingsRequest* request,
                                    v1::BatchDeletePasidBindingsResponse* response) override {
    const std::string project =
        request->requests().empty() ? "" : ProjectOf(request->requests(0).name());
    return MutateCall(context, state_, project, *request, response,
                      [request](const View& view, absl::Time now) {
                        return server::BatchDeletePasidBindings(view, now, *request);
                      });
  }
  Reactor* GetPasidBinding(Context* context, const v1::GetPasidBindingRequest* request,
                           v1::PasidBinding* response) override {
    return ReadCall(context, state_, *request, response,
                    [&](const View& view) -> absl::StatusOr<v1::PasidBinding> {
                      if (!view.pasid_bindings().Contains(request->name())) {
                        return errors::NotFound(request->name());
                      }
                      return view.PasidBindingResource(request->name());
                    });
  }
  Reactor* ListPasidBindings(Context* context, const v1::ListPasidBindingsRequest* request,
                             v1::ListPasidBindingsResponse* response) override {
    return ReadCall(context, state_, *request, response,
                    [&](const View& view) { return List(view, *request); });
  }
  Reactor* WaitPasidBinding(Context* context, const v1::WaitPasidBindingRequest* request,
                            v1::WaitPasidBindingResponse* response) override {
    return WaitCall::Start(state_, parked_, CallerOf(*context->auth_context()), *request, response);
  }
  Reactor* InvalidateCache(Context* context, const v1::InvalidateCacheRequest* request,
                           v1::InvalidateCacheResponse*) override {
    return InvalidateCall::Start(sessions_, parked_, CallerOf(*context->auth_context()), *request);
  }
  Reactor* GetPasidBindingTimeline(Context* context,
                                   const v1::GetPasidBindingTimelineRequest* request,
                                   v1::GetPasidBindingTimelineResponse* response) override {
    return ReadCall(context, state_, *request, response,
                    [&](const View& view) -> absl::StatusOr<v1::GetPasidBindingTimelineResponse> {
                      if (!view.pasid_bindings().Contains(request->name())) {
                        return errors::NotFound(request->name());
                      }
                      return Timeline(view, request->name());
                    });
  }
  Reactor* ExplainPasidBinding(Context* context, const v1::ExplainPasidBindingRequest* request,
                               v1::ExplainPasidBindingResponse* response) override {
    return ReadCall(context, state_, *request, response,
                    [&](const View& view) -> absl::StatusOr<v1::ExplainPasidBindingResponse> {
                      if (!view.pasid_bindings().Contains(request->name())) {
                        return errors::NotFound(request->name());
                      }
                      return Explain(view, request->name());
                    });
  }

 private:
  ClusterState& state_;
  AgentSessions& sessions_;
  const UidSource uids_;
  ParkedCalls& parked_;
};

class WatchServiceImpl final : public v1::WatchService::CallbackService {
 public:
  WatchServiceImpl(ClusterState& state, ParkedCalls& parked, const ApiServicesOptions& options)
      : history_(state, options.history),
        sources_{state, history_, parked, options.bookmark_interval} {}

  grpc::ServerWriteReactor<v1::WatchResponse>* Watch(Context* context,
                                                     const v1::WatchRequest* request) override {
    return WatchCall::Start(sources_, CallerOf(*context->auth_context()), *request);
  }

 private:
  WatchHistory history_;
  const WatchCall::Sources sources_;
};

}  // namespace

struct ApiServices::Parts {
  Parts(ClusterState& state, AgentSessions& sessions, const UidSource& uids,
        const ApiServicesOptions& options)
      : hosts(state, uids),
        machines(state, uids),
        bindings(state, sessions, uids, parked),
        watch(state, parked, options) {}

  ParkedCalls parked;
  HostServiceImpl hosts;
  VirtualMachineServiceImpl machines;
  PasidBindingServiceImpl bindings;
  WatchServiceImpl watch;
};

ApiServices::ApiServices(ClusterState& state, AgentSessions& sessions, const UidSource& uids,
                         const ApiServicesOptions& options)
    : parts_(std::make_unique<Parts>(state, sessions, uids, options)) {}

ApiServices::~ApiServices() = default;

std::vector<grpc::Service*> ApiServices::services() {
  return {&parts_->hosts, &parts_->machines, &parts_->bindings, &parts_->watch};
}

void ApiServices::End() { parts_->parked.EndAll(); }

}  // namespace nestor::server
