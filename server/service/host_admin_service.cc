#include "server/service/host_admin_service.h"

#include <memory>
#include <string>
#include <utility>

#include "api/support/resource_name.h"
#include "nestor/v1/host_admin_service.grpc.pb.h"
#include "server/core/intent.h"
#include "server/service/unary_call.h"

namespace nestor::server {
namespace {

using Context = grpc::CallbackServerContext;
using Reactor = grpc::ServerUnaryReactor;

// The scope of the request_ids of these methods; no project is named so.
constexpr absl::string_view kHosts = "-";

// Removes what waits for deletion on a fenced host, one bounded transaction after the other, and
// then finishes the call. A call that is cut off here is gone on with when it is made again.
void PurgeRest(ClusterState& state, const std::string& host, v1::Host* response, Reactor* reactor) {
  auto changed = std::make_shared<bool>(false);
  auto decide = [host, changed](const View& view, absl::Time now) {
    absl::StatusOr<Decision> decision = PurgeFencedHost(view, now, host);
    *changed = decision.ok() && !decision->changes_nothing();
    return decision;
  };
  state.Mutate(decide, {}, [&state, host, changed, response, reactor](auto applied) {
    if (applied.ok() && *changed) return PurgeRest(state, host, response, reactor);
    FinishMutation(applied, response, reactor);
  });
}

class HostAdminServiceImpl final : public v1::HostAdminService::CallbackService {
 public:
  explicit HostAdminServiceImpl(ClusterState& state) : state_(state) {}

  Reactor* FenceHost(Context* context, const v1::FenceHostRequest* request,
                     v1::Host* response) override {
    const Caller caller = CallerOf(*context->auth_context());
    absl::Status status = CheckOperator(caller);
    if (status.ok()) status = Validate(*request);
    if (!status.ok()) return FinishCall(context, status);
    auto* reactor = context->DefaultReactor();
    auto decide = [by = caller.name, request](const View& view, absl::Time now) {
      return server::FenceHost(view, now, by, *request);
    };
    state_.Mutate(decide, OptionsOf(kHosts, *request),
                  [this, by = caller.name, request, response, reactor](auto applied) {
                    log::Warn({{"resource", request->name()},
                               {"caller", by},
                               {"error", ErrorReason(applied.status())}},
                              "fence: {}: {}", request->evidence(), log::Text(applied.status()));
                    if (applied.ok() && !request->validate_only()) {
                      return PurgeRest(state_, HostName::Parse(request->name())->host, response,
                                       reactor);
                    }
                    FinishMutation(applied, response, reactor);
                  });
    return reactor;
  }

  Reactor* DrainHost(Context* context, const v1::DrainHostRequest* request,
                     v1::Host* response) override {
    return SetDrain(context, request, response, server::DrainHost);
  }

  Reactor* UndrainHost(Context* context, const v1::UndrainHostRequest* request,
                       v1::Host* response) override {
    return SetDrain(context, request, response, server::UndrainHost);
  }

 private:
  template <typename Request, typename Decide>
  Reactor* SetDrain(Context* context, const Request* request, v1::Host* response, Decide decide) {
    const Caller caller = CallerOf(*context->auth_context());
    if (absl::Status status = CheckOperator(caller); !status.ok()) {
      return FinishCall(context, status);
    }
    log::Info({{"resource", Printable(request->name())}, {"caller", caller.name}}, "{}",
              Request::descriptor()->name());
    return MutateCall(context, state_, kHosts, *request, response,
                      [by = caller.name, request, decide](const View& view, absl::Time now) {
                        return decide(view, now, by, *request);
                      });
  }

  ClusterState& state_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeHostAdminService(ClusterState& state) {
  return std::make_unique<HostAdminServiceImpl>(state);
}

}  // namespace nestor::server
