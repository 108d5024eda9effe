#include "server/service/caller.h"

#include <grpc/grpc_security_constants.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "api/support/errors.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"

namespace nestor::server {
namespace {

using Kind = Caller::Kind;

constexpr absl::string_view kPlaintext = "insecure";  // gRPC's name of that transport

// The one value of a property; empty where it has none or several.
std::string Property(const grpc::AuthContext& context, const char* name) {
  const std::vector<grpc::string_ref> values = context.FindPropertyValues(name);
  return values.size() == 1 ? std::string(values[0].data(), values[0].size()) : "";
}

void ParseAgent(absl::string_view host, Caller* caller) {
  std::string name = absl::StrCat("hosts/", host);
  if (!HostName::Parse(name).ok()) return;
  caller->kind = Kind::kAgent;
  caller->host = std::move(name);
}

void ParseProject(absl::string_view id, absl::string_view right, Caller* caller) {
  if (right != "writer" && right != "reader") return;
  if (auto parent = ParseProjectParent(absl::StrCat("projects/", id));
      !parent.ok() || parent->empty()) {
    return;
  }
  caller->kind = right == "writer" ? Kind::kProjectWriter : Kind::kProjectReader;
  caller->project = std::string(id);
}

absl::Status CheckKnown(const Caller& caller) {
  return caller.kind == Kind::kUnknown ? errors::IdentityUnknown(caller.name) : absl::OkStatus();
}

}  // namespace

Caller ParseCaller(absl::string_view spiffe_id) {
  Caller caller;
  caller.name = std::string(spiffe_id);
  if (!absl::ConsumePrefix(&spiffe_id, "spiffe://")) return caller;
  const std::vector<absl::string_view> parts = absl::StrSplit(spiffe_id, '/');
  if (parts[0].empty()) return caller;
  if (parts.size() == 3 && parts[1] == "agent") {
    ParseAgent(parts[2], &caller);
  } else if (parts.size() == 4 && parts[1] == "project") {
    ParseProject(parts[2], parts[3], &caller);
  } else if (parts.size() == 2 && parts[1] == "operator") {
    caller.kind = Kind::kOperator;
  } else if (parts.size() == 2 && parts[1] == "auditor") {
    caller.kind = Kind::kAuditor;
  }
  return caller;
}

Caller CallerOf(const grpc::AuthContext& context) {
  // Not IsPeerAuthenticated: a certificate without any name is not authenticated either.
  if (Property(context, GRPC_TRANSPORT_SECURITY_TYPE_PROPERTY_NAME) == kPlaintext) {
    Caller caller;
    caller.kind = Kind::kLocal;
    caller.name = "local";
    return caller;
  }
  return ParseCaller(Property(context, GRPC_PEER_SPIFFE_ID_PROPERTY_NAME));
}

absl::Status CheckClient(const Caller& caller) {
  RETURN_IF_ERROR(CheckKnown(caller));
  if (caller.kind != Kind::kAgent) return absl::OkStatus();
  return errors::RoleDenied(caller.name, "clients");
}

absl::Status CheckAgent(const Caller& caller) {
  RETURN_IF_ERROR(CheckKnown(caller));
  if (caller.kind == Kind::kAgent || caller.kind == Kind::kLocal) return absl::OkStatus();
  return errors::RoleDenied(caller.name, "agents");
}

absl::Status CheckAgentOf(const Caller& caller, absl::string_view host) {
  RETURN_IF_ERROR(CheckAgent(caller));
  if (caller.kind == Kind::kLocal || caller.host == host) return absl::OkStatus();
  return errors::IdentityMismatch(caller.name, host);
}

absl::Status CheckOperator(const Caller& caller) {
  RETURN_IF_ERROR(CheckKnown(caller));
  if (caller.kind == Kind::kOperator || caller.kind == Kind::kLocal) return absl::OkStatus();
  return errors::RoleDenied(caller.name, "operators");
}

}  // namespace nestor::server
