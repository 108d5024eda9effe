// The gRPC services for clients: thin handlers over ClusterState and the pure core.
#pragma once

#include <memory>
#include <vector>

#include "server/core/decision.h"
#include "server/reconcile/cluster_state.h"

namespace grpc {
class Service;
}

namespace nestor::server {

// HostService, VirtualMachineService, PasidBindingService and WatchService. They share the
// parked calls (WaitPasidBinding, Watch), which End finishes with UNAVAILABLE when the server
// drains. Thread-safe.
class ApiServices {
 public:
  // `state` must outlive this; `uids` is called on gRPC threads.
  ApiServices(ClusterState& state, UidSource uids);
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
