// The server's services in this process, called over real gRPC on a unix socket.
#pragma once

#include <google/protobuf/util/time_util.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "api/support/event_loop.h"
#include "api/support/grpc_status.h"
#include "nestor/v1/agent_service.grpc.pb.h"
#include "nestor/v1/host_admin_service.grpc.pb.h"
#include "nestor/v1/host_service.grpc.pb.h"
#include "nestor/v1/pasid_binding_service.grpc.pb.h"
#include "nestor/v1/virtual_machine_service.grpc.pb.h"
#include "nestor/v1/watch_service.grpc.pb.h"
#include "server/core/test_view.h"
#include "server/reconcile/agent_sessions.h"
#include "server/reconcile/cluster_state.h"
#include "server/reconcile/test_agent.h"
#include "server/service/agent_service.h"
#include "server/service/api_services.h"
#include "server/service/grpc_server.h"
#include "server/service/host_admin_service.h"
#include "server/store/testing.h"

namespace nestor::server {

using Hosts = v1::HostService::Stub;
using HostAdmin = v1::HostAdminService::Stub;
using Machines = v1::VirtualMachineService::Stub;
using Bindings = v1::PasidBindingService::Stub;

// Ends calls that a broken server would never answer.
inline void LimitCall(grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
}

// One unary call.
template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> Call(Stub& stub,
                              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                           Response*),
                              const Request& request) {
  grpc::ClientContext context;
  LimitCall(&context);
  Response response;
  const absl::Status status = FromGrpcStatus((stub.*method)(&context, request, &response));
  if (!status.ok()) return status;
  return response;
}

// Any bytes as the request of "package.Service/Method".
inline absl::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel,
                            const std::string& method, const std::string& request) {
  grpc::ClientContext context;
  LimitCall(&context);
  const grpc::Slice slice(request);
  const grpc::ByteBuffer request_bytes(&slice, 1);
  grpc::ByteBuffer response_bytes;
  std::promise<grpc::Status> done;
  grpc::GenericStub(channel).UnaryCall(
      &context, "/" + method, grpc::StubOptions(), &request_bytes, &response_bytes,
      [&done](grpc::Status status) { done.set_value(std::move(status)); });
  return FromGrpcStatus(done.get_future().get());
}

struct TestServerOptions {
  absl::Duration lease_ttl = absl::Seconds(40);
  ApiServices::Options api = {};
  TransportSecurity security = {.tls = {}, .insecure = true};
};

// The reason of a refusal; empty where there was none.
template <typename Reply>
std::string ReasonOf(const absl::StatusOr<Reply>& reply) {
  return ErrorReason(reply.status());
}

class TestServer {
 public:
  explicit TestServer(const TestServerOptions& options = {}) : options_(options) { Start(); }
  ~TestServer() { Stop(); }

  // As a new process over the same store.
  void Restart() {
    Stop();
    store_.Reopen();
    Start();
  }

  int64_t head() { return store_->HeadRevision(); }
  ManualClock& clock() { return clock_; }
  ApiServices& api() { return *running_->api; }
  AgentSessions& sessions() { return *running_->sessions; }
  Hosts& hosts() { return *hosts_; }
  HostAdmin& host_admin() { return *host_admin_; }
  Machines& machines() { return *machines_; }
  Bindings& bindings() { return *bindings_; }
  v1::WatchService::Stub& watch() { return *watch_; }
  v1::AgentService::Stub& agents() { return *agents_; }

  // Where clients and agents connect; each is a server of its own.
  std::string ClientAddress() const { return "unix:" + directory_.path() + "/clients"; }
  std::string AgentAddress() const { return "unix:" + directory_.path() + "/agents"; }
  std::string AdminAddress() const { return "unix:" + directory_.path() + "/admin"; }

  // Any bytes as the request of "nestor.v1.Service/Method".
  absl::Status CallRaw(const std::string& method, const std::string& request) {
    return nestor::server::CallRaw(channel_, method, request);
  }

  // Whether the state comes to fulfil `condition`.
  bool Await(const std::function<bool(const View&)>& condition) {
    std::mutex mutex;
    std::condition_variable changed;
    int changes = 0;
    auto subscription = running_->state->Subscribe([&](const auto&) {
      std::lock_guard lock(mutex);
      ++changes;
      changed.notify_all();
    });
    std::unique_lock lock(mutex);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (true) {
      const int seen = changes;
      lock.unlock();
      bool fulfilled = false;
      running_->state->Read([&](const View& view) { fulfilled = condition(view); });
      if (fulfilled) return true;
      lock.lock();
      if (!changed.wait_until(lock, end, [&] { return changes != seen; })) return false;
    }
  }

 private:
  // In order of dependence.
  struct Running {
    std::unique_ptr<ClusterState> state;
    EventLoop loop;
    std::unique_ptr<AgentSessions> sessions;
    std::unique_ptr<grpc::Service> agent_service;
    std::unique_ptr<ApiServices> api;
    std::unique_ptr<GrpcServer> agent_server;
    std::unique_ptr<GrpcServer> client_server;
    std::unique_ptr<grpc::Service> admin_service;
    std::unique_ptr<GrpcServer> admin_server;
  };

  static std::string NewUuid() {
    std::string uuid;
    std::ifstream("/proc/sys/kernel/random/uuid") >> uuid;
    return uuid;
  }

  void Start() {
    running_ = std::make_unique<Running>();
    EXPECT_TRUE(ClusterState::BeginRun(*store_).ok());
    running_->state = ClusterState::Load(*store_, clock_).value();
    running_->sessions =
        std::make_unique<AgentSessions>(*running_->state, *store_, clock_, running_->loop, NewUuid,
                                        AgentSessions::Options{.lease_ttl = options_.lease_ttl});
    running_->agent_service = MakeAgentService(*running_->sessions);
    running_->api =
        std::make_unique<ApiServices>(*running_->state, *running_->sessions, NewUuid, options_.api);
    running_->agent_server =
        GrpcServer::Start({AgentAddress(), options_.security, {running_->agent_service.get()}})
            .value();
    running_->client_server =
        GrpcServer::Start({ClientAddress(), options_.security, running_->api->services()}).value();
    running_->admin_service = MakeHostAdminService(*running_->state);
    running_->admin_server =
        GrpcServer::StartAdmin({AdminAddress(), options_.security, {running_->admin_service.get()}})
            .value();
    host_admin_ = v1::HostAdminService::NewStub(
        grpc::CreateChannel(AdminAddress(), grpc::InsecureChannelCredentials()));
    channel_ = grpc::CreateChannel(ClientAddress(), grpc::InsecureChannelCredentials());
    hosts_ = v1::HostService::NewStub(channel_);
    machines_ = v1::VirtualMachineService::NewStub(channel_);
    bindings_ = v1::PasidBindingService::NewStub(channel_);
    watch_ = v1::WatchService::NewStub(channel_);
    agents_ = v1::AgentService::NewStub(
        grpc::CreateChannel(AgentAddress(), grpc::InsecureChannelCredentials()));
  }

  void Stop() {
    running_->api->End();
    running_->sessions->Drain();
    running_->client_server->Drain(absl::ZeroDuration());
    running_->admin_server->Drain(absl::ZeroDuration());
    running_->agent_server->Drain(absl::ZeroDuration());
    running_->loop.Stop();
    // What is still queued may call back into what goes now.
    CommitAndWait(*store_, Transaction()).value();
    running_.reset();
  }

  const TestServerOptions options_;
  ManualClock clock_;
  TemporaryDirectory directory_;
  TemporaryStore store_;
  std::unique_ptr<Running> running_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<Hosts> hosts_;
  std::unique_ptr<HostAdmin> host_admin_;
  std::unique_ptr<Machines> machines_;
  std::unique_ptr<Bindings> bindings_;
  std::unique_ptr<v1::WatchService::Stub> watch_;
  std::unique_ptr<v1::AgentService::Stub> agents_;
};

// One Sync stream of an agent that does what the test says.
class TestAgent {
 public:
  explicit TestAgent(TestServer& server) {
    LimitCall(&context_);
    stream_ = server.agents().Sync(&context_);
  }
  ~TestAgent() { context_.TryCancel(); }

  bool Send(const v1::SyncRequest& message) { return stream_->Write(message); }

  // The next message; nothing where the stream has ended.
  std::optional<v1::SyncResponse> Read() {
    v1::SyncResponse message;
    if (!stream_->Read(&message)) return std::nullopt;
    return message;
  }

  // Empty where something else came.
  v1::Welcome Connect(const v1::SyncRequest& hello = TestHello()) {
    Send(hello);
    return Read().value_or(v1::SyncResponse()).welcome();
  }
  v1::Desired ReadDesired() { return Read().value_or(v1::SyncResponse()).desired(); }

  // How the server ended the stream.
  absl::Status End() {
    while (Read()) {
    }
    return FromGrpcStatus(stream_->Finish());
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::SyncRequest, v1::SyncResponse>> stream_;
};

// A server, and the steps that most tests begin with. Each fails the test where it is refused.
class ServiceTest : public ::testing::Test {
 protected:
  explicit ServiceTest(const TestServerOptions& options = {}) : server_(options) {}

  template <typename Reply>
  static Reply Must(absl::StatusOr<Reply> reply) {
    EXPECT_TRUE(reply.ok()) << reply.status();
    return reply.ok() ? *std::move(reply) : Reply();
  }

  v1::Host CreateHost(const std::string& name = kHost) {
    v1::CreateHostRequest request;
    request.mutable_host()->set_name(name);
    return Must(Call(server_.hosts(), &Hosts::CreateHost, request));
  }
  absl::StatusOr<v1::VirtualMachine> TryCreateMachine(const v1::VirtualMachine& machine) {
    v1::CreateVirtualMachineRequest request;
    *request.mutable_virtual_machine() = machine;
    return Call(server_.machines(), &Machines::CreateVirtualMachine, request);
  }
  v1::VirtualMachine CreateMachine(const v1::VirtualMachine& machine = WantedMachine()) {
    return Must(TryCreateMachine(machine));
  }
  absl::StatusOr<v1::PasidBinding> TryCreateBinding(const v1::PasidBinding& binding) {
    v1::CreatePasidBindingRequest request;
    *request.mutable_pasid_binding() = binding;
    return Call(server_.bindings(), &Bindings::CreatePasidBinding, request);
  }
  v1::PasidBinding CreateBinding(const std::string& id, uint32_t pasid) {
    return Must(TryCreateBinding(WantedBinding(BindingName(id), pasid)));
  }
  absl::StatusOr<v1::PasidBinding> GetBinding(const std::string& id) {
    v1::GetPasidBindingRequest request;
    request.set_name(BindingName(id));
    return Call(server_.bindings(), &Bindings::GetPasidBinding, request);
  }
  v1::PasidBinding DeleteBinding(const std::string& id) {
    v1::DeletePasidBindingRequest request;
    request.set_name(BindingName(id));
    return Must(Call(server_.bindings(), &Bindings::DeletePasidBinding, request));
  }
  absl::StatusOr<v1::WaitPasidBindingResponse> Wait(
      const std::string& id,
      v1::WaitPasidBindingRequest::Want want = v1::WaitPasidBindingRequest::WANT_PROGRAMMED,
      absl::Duration timeout = absl::Seconds(15)) {
    v1::WaitPasidBindingRequest request;
    request.set_name(BindingName(id));
    request.set_want(want);
    *request.mutable_timeout() = google::protobuf::util::TimeUtil::MillisecondsToDuration(
        absl::ToInt64Milliseconds(timeout));
    return Call(server_.bindings(), &Bindings::WaitPasidBinding, request);
  }

  TestServer server_;
};

// The steps of tests in which an agent takes part.
class AgentServiceTest : public ServiceTest {
 protected:
  explicit AgentServiceTest(const TestServerOptions& options = {}) : ServiceTest(options) {}

  v1::Host GetHost() {
    v1::GetHostRequest request;
    request.set_name(kHost);
    return Must(Call(server_.hosts(), &Hosts::GetHost, request));
  }
  absl::StatusOr<v1::RenewLeaseResponse> Renew(const std::string& session_id) {
    v1::RenewLeaseRequest request;
    request.set_host(kHost);
    request.set_session_id(session_id);
    return Call(server_.agents(), &v1::AgentService::Stub::RenewLease, request);
  }
  bool AwaitHostState(v1::HostStatus::State state) {
    return server_.Await([state](const View& view) {
      const HostRecord* host = view.FindHost(kHostId);
      return host != nullptr && StateOf(*host) == state;
    });
  }
  // An agent that holds binding "b" (PASID 7) for the machine.
  std::unique_ptr<TestAgent> ConnectAndProgram() {
    auto agent = std::make_unique<TestAgent>(server_);
    agent->Connect();
    CreateMachine();
    agent->Send(AnswerTo(agent->ReadDesired()));
    CreateBinding("b", 7);
    agent->Send(AnswerTo(agent->ReadDesired()));
    Must(Wait("b"));
    return agent;
  }
};

}  // namespace nestor::server
