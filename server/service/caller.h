// Who makes a call. Everything that may depend on it takes this one value.
#pragma once

#include <grpcpp/security/auth_context.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace nestor::server {

struct Caller {
  enum class Kind {
    kUnknown,        // a certificate without an identity of Nestor; nothing is open to it
    kLocal,          // plaintext, which stays on this machine; the socket's rights decide
    kAgent,          // spiffe://DOMAIN/agent/HOST
    kProjectWriter,  // spiffe://DOMAIN/project/ID/writer
    kProjectReader,  // spiffe://DOMAIN/project/ID/reader
    kOperator,       // spiffe://DOMAIN/operator
    kAuditor,        // spiffe://DOMAIN/auditor
  };
  Kind kind = Kind::kUnknown;
  // The whole identity, for people and logs; "local" for kLocal, empty where there is none.
  std::string name;
  std::string host;     // of an agent, "hosts/HOST"
  std::string project;  // of a project's writer or reader, its id
};

// The caller with this SPIFFE id. Any other text, and one whose host or project is no valid
// name, is kUnknown. The trust domain is not looked at: who signed the certificate decides.
Caller ParseCaller(absl::string_view spiffe_id);

// The caller of a call with this context. Cheap, and does not block.
Caller CallerOf(const grpc::AuthContext& context);

// Whether `caller` may use the services for clients: anybody known but agents.
// PERMISSION_DENIED: IDENTITY_UNKNOWN, ROLE_DENIED.
absl::Status CheckClient(const Caller& caller);

// Whether `caller` may speak as the agent of any host. Errors as above.
absl::Status CheckAgent(const Caller& caller);

// Whether `caller` may speak as the agent of `host` ("hosts/HOST"). Errors of CheckAgent, and
// PERMISSION_DENIED IDENTITY_MISMATCH.
absl::Status CheckAgentOf(const Caller& caller, absl::string_view host);

// Whether `caller` may use the admin server: operators. Errors as CheckClient.
absl::Status CheckOperator(const Caller& caller);

}  // namespace nestor::server
