// The agents' gRPC service: hands every message to AgentSessions and writes what those send.
#pragma once

#include <memory>

#include "server/reconcile/agent_sessions.h"

namespace grpc {
class Service;
}

namespace nestor::server {

// `sessions` must outlive the service. Register it with a grpc::ServerBuilder.
std::unique_ptr<grpc::Service> MakeAgentService(AgentSessions& sessions);

}  // namespace nestor::server
