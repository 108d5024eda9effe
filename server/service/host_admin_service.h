// The service with which operators say what becomes of a host.
#pragma once

#include <grpcpp/impl/codegen/service_type.h>

#include <memory>

#include "server/reconcile/cluster_state.h"

namespace nestor::server {

// HostAdminService, for the admin server: it answers operators only. `state` must outlive it.
// Thread-safe.
std::unique_ptr<grpc::Service> MakeHostAdminService(ClusterState& state);

}  // namespace nestor::server
