// The gRPC services for clients: thin handlers over ClusterState and the pure core.
#pragma once

#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "server/core/decision.h"
#include "server/reconcile/agent_sessions.h"
#include "server/reconcile/cluster_state.h"

namespace grpc {
class Service;
}

namespace nestor::server {

struct ApiServicesOptions {
  // Changes kept for watches; a watcher that falls further behind must start again.
  size_t history = 100'000;
  // An idle watch hears so often that nothing changed.
  absl::Duration bookmark_interval = absl::Seconds(10);
};

// HostService, VirtualMachineService, PasidBindingService and WatchService. They share the
// parked calls (WaitPasidBinding, InvalidateCache, Watch), which End finishes with UNAVAILABLE when
// the server drains. Thread-safe.
class ApiServices {
 public:
  using Options = ApiServicesOptions;

  // `state` and `sessions` must outlive this; `uids` is called on gRPC threads.
  ApiServices(ClusterState& state, AgentSessions& sessions, const UidSource& uids,
              const Options& options = {});
  ~ApiServices();

  // To be registered with a grpc::ServerBuilder; owned here.
  std::vector<grpc::Service*> services();

  // Finishes every parked call and refuses new ones. Idempotent.
  void End();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace nestor::server
