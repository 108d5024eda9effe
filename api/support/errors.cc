#include "api/support/errors.h"

#include <google/protobuf/util/time_util.h>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "api/support/resource_name.h"

namespace nestor {
namespace {

constexpr absl::string_view kDetailsPayload = "type.nestor.dev/google.rpc.Status";
constexpr size_t kMaxViolationsListed = 64;

using google::protobuf::Message;
using Metadata = std::vector<std::pair<absl::string_view, std::string>>;

// An error with an ErrorInfo and, where given, one more typed detail.
absl::Status MakeError(absl::StatusCode code, absl::string_view reason, absl::string_view message,
                       const Metadata& metadata, const Message* detail = nullptr) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain(std::string(kErrorDomain));
  for (const auto& [key, value] : metadata) (*info.mutable_metadata())[std::string(key)] = value;
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  if (detail != nullptr) details.add_details()->PackFrom(*detail);
  absl::Status status(code, message);
  status.SetPayload(kDetailsPayload, absl::Cord(details.SerializeAsString()));
  return status;
}

absl::Status PreconditionError(absl::string_view reason, absl::string_view subject,
                               const std::string& message) {
  google::rpc::PreconditionFailure failure;
  auto* violation = failure.add_violations();
  violation->set_type(std::string(reason));
  violation->set_subject(Printable(subject));
  violation->set_description(message);
  return MakeError(absl::StatusCode::kFailedPrecondition, reason, message,
                   {{"resource", Printable(subject)}}, &failure);
}

google::rpc::RetryInfo RetryAfter(absl::Duration delay) {
  google::rpc::RetryInfo retry;
  *retry.mutable_retry_delay() =
      google::protobuf::util::TimeUtil::MillisecondsToDuration(absl::ToInt64Milliseconds(delay));
  return retry;
}

absl::Status KernelFailed(absl::string_view name, const v1::Failure& failure) {
  Metadata metadata = {{"resource", std::string(name)}};
  if (failure.has_kernel_error()) {
    const v1::KernelError& error = failure.kernel_error();
    metadata.insert(metadata.end(), {{"operation", Printable(error.operation())},
                                     {"object", Printable(error.object())},
                                     {"errno", Printable(error.error_name())}});
  }
  const bool passes = failure.kind() == v1::Failure::KIND_TRANSIENT;
  return MakeError(passes ? absl::StatusCode::kUnavailable : absl::StatusCode::kFailedPrecondition,
                   failure.reason(), absl::StrCat(name, ": ", failure.message()), metadata);
}

}  // namespace

std::string FieldPath::ToString() const {
  return parent_ == nullptr ? std::string(name_) : absl::StrCat(parent_->ToString(), name_);
}

void FieldViolations::Add(const FieldPath& field, absl::string_view description) {
  violations_.emplace_back(field.ToString(), description);
}

absl::Status FieldViolations::ToStatus() const {
  if (violations_.empty()) return absl::OkStatus();
  google::rpc::BadRequest bad_request;
  for (const auto& [field, description] : violations_) {
    if (static_cast<size_t>(bad_request.field_violations_size()) == kMaxViolationsListed) break;
    auto* violation = bad_request.add_field_violations();
    violation->set_field(field);
    violation->set_description(description);
  }
  const auto& [field, description] = violations_.front();
  std::string message = absl::StrCat(field, ": ", description);
  if (violations_.size() > 1) {
    absl::StrAppend(&message, " (and ", violations_.size() - 1, " more)");
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "FIELD_INVALID", message, {{"field", field}},
                   &bad_request);
}

namespace errors {

absl::Status FieldInvalid(absl::string_view field, absl::string_view description) {
  FieldViolations violations;
  violations.Add(field, description);
  return violations.ToStatus();
}

absl::Status RequestIdReused(absl::string_view request_id) {
  return MakeError(absl::StatusCode::kInvalidArgument, "REQUEST_ID_REUSED",
                   absl::StrCat("request_id ", Printable(request_id),
                                " was used for another request within the last hour; use a new "
                                "UUID for each new request"),
                   {{"request_id", Printable(request_id)}});
}

absl::Status ProtocolError(absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "PROTOCOL_ERROR",
                   absl::StrCat("agent protocol: ", what), {});
}

absl::Status IdentityUnknown(absl::string_view caller) {
  return MakeError(
      absl::StatusCode::kPermissionDenied, "IDENTITY_UNKNOWN",
      absl::StrCat("the certificate names ", caller.empty() ? "nobody" : Printable(caller),
                   "; it needs one URI such as spiffe://DOMAIN/agent/HOST or "
                   "spiffe://DOMAIN/project/ID/writer"),
      {{"caller", Printable(caller)}});
}

absl::Status IdentityMismatch(absl::string_view caller, absl::string_view host) {
  return MakeError(absl::StatusCode::kPermissionDenied, "IDENTITY_MISMATCH",
                   absl::StrCat(Printable(caller), " may not speak for ", Printable(host),
                                "; start the agent with the --host of its certificate"),
                   {{"caller", Printable(caller)}, {"resource", Printable(host)}});
}

absl::Status RoleDenied(absl::string_view caller, absl::string_view allowed) {
  return MakeError(absl::StatusCode::kPermissionDenied, "ROLE_DENIED",
                   absl::StrCat("this service is for ", allowed, ", not for ", Printable(caller)),
                   {{"caller", Printable(caller)}});
}

absl::Status NotFound(absl::string_view name) {
  return MakeError(absl::StatusCode::kNotFound, "NOT_FOUND",
                   absl::StrCat(Printable(name), " does not exist"),
                   {{"resource", Printable(name)}});
}

absl::Status AlreadyExists(absl::string_view name) {
  return MakeError(absl::StatusCode::kAlreadyExists, "ALREADY_EXISTS",
                   absl::StrCat(name, " exists"), {{"resource", std::string(name)}});
}

absl::Status PasidInUse(absl::string_view device, uint32_t pasid, absl::string_view holder) {
  return MakeError(absl::StatusCode::kAlreadyExists, "PASID_IN_USE",
                   absl::StrFormat("PASID %u of device %s is held by %s; it becomes free when that "
                                   "binding is gone from the host",
                                   pasid, device, holder),
                   {{"device", std::string(device)},
                    {"pasid", absl::StrCat(pasid)},
                    {"holder", std::string(holder)}});
}

absl::Status AgentConflict(absl::string_view host) {
  return MakeError(absl::StatusCode::kAlreadyExists, "AGENT_CONFLICT",
                   absl::StrCat("another live agent instance holds ", host,
                                "; stop it, or wait until its lease has run out"),
                   {{"resource", std::string(host)}});
}

absl::Status EtagMismatch(absl::string_view name, absl::string_view current) {
  return MakeError(absl::StatusCode::kAborted, "ETAG_MISMATCH",
                   absl::StrCat(name, " has changed since it was read; read it again"),
                   {{"resource", std::string(name)}, {"current_etag", std::string(current)}});
}

absl::Status Contention(absl::string_view what) {
  return MakeError(absl::StatusCode::kAborted, "CONTENTION",
                   absl::StrCat("too many concurrent changes of ", what, "; try again"), {});
}

absl::Status SessionSuperseded(absl::string_view host) {
  return MakeError(absl::StatusCode::kAborted, "SESSION_SUPERSEDED",
                   absl::StrCat("a newer session of ", host, " took over"),
                   {{"resource", std::string(host)}});
}

absl::Status NotSessionOwner(absl::string_view host) {
  return MakeError(
      absl::StatusCode::kAborted, "NOT_SESSION_OWNER",
      absl::StrCat("the named session is not the present one of ", host, "; open Sync again"),
      {{"resource", std::string(host)}});
}

absl::Status HostUnknown(absl::string_view host) {
  return PreconditionError("HOST_UNKNOWN", host,
                           absl::StrCat(host, " is not known; declare it, or start its agent"));
}

absl::Status HostCordoned(absl::string_view host) {
  return PreconditionError("HOST_CORDONED", host,
                           absl::StrCat(host, " is cordoned and takes no new virtual machines"));
}

absl::Status HostDraining(absl::string_view host) {
  return PreconditionError(
      "HOST_DRAINING", host,
      absl::StrCat(host,
                   " is being emptied and takes nothing new; choose another host, or end it: "
                   "nestorctl undrain-host ",
                   absl::StripPrefix(host, "hosts/")));
}

absl::Status HostFenced(absl::string_view host, const v1::HostFence& fence) {
  return PreconditionError(
      "HOST_FENCED", host,
      absl::StrCat(host, " was fenced by ", fence.declared_by(), " (", fence.evidence(),
                   "); choose another host, or start its agent, which lifts the fence by showing "
                   "that it holds nothing: nestorctl describe host ",
                   absl::StripPrefix(host, "hosts/")));
}

absl::Status Moving(absl::string_view virtual_machine, absl::string_view leaving_host) {
  return PreconditionError(
      "MOVING", virtual_machine,
      absl::StrCat(virtual_machine, " cannot go to yet another host before ", leaving_host,
                   " has let go of it; wait, or if that host is dead: nestorctl fence-host ",
                   absl::StripPrefix(leaving_host, "hosts/")));
}

absl::Status HostConnected(absl::string_view host, absl::string_view what_to_do) {
  return PreconditionError("HOST_CONNECTED", host,
                           absl::StrCat(host, " has a live agent; ", what_to_do));
}

absl::Status HasChildren(absl::string_view name, absl::string_view what) {
  return PreconditionError("HAS_CHILDREN", name,
                           absl::StrCat(name, " still has ", what, "; delete them first"));
}

absl::Status DeviceInUse(absl::string_view device, absl::string_view holder) {
  return PreconditionError("DEVICE_IN_USE", device,
                           absl::StrCat("device ", device, " is used by ", holder));
}

absl::Status DeviceNotOwned(absl::string_view device, absl::string_view virtual_machine) {
  return PreconditionError(
      "DEVICE_NOT_OWNED", device,
      absl::StrCat("device ", device, " is not in spec.placement.devices of ", virtual_machine));
}

absl::Status DeviceUnsuitable(absl::string_view device, absl::string_view why) {
  return PreconditionError("DEVICE_UNSUITABLE", device,
                           absl::StrCat("device ", device, " cannot be used: ", why));
}

absl::Status Deleting(absl::string_view name) {
  return PreconditionError(
      "DELETING", name,
      absl::StrCat(name, " is being deleted; wait until it is gone, then create it again"));
}

absl::Status BindingFailed(absl::string_view name, const v1::Failure& failure) {
  return PreconditionError(failure.reason().empty() ? "BINDING_FAILED" : failure.reason(), name,
                           absl::StrCat(name, " failed: ", failure.message()));
}

absl::Status StoreIncompatible(absl::string_view what) {
  return PreconditionError("STORE_INCOMPATIBLE", "store", std::string(what));
}

absl::Status Hold(absl::string_view host, absl::string_view why) {
  return PreconditionError("HOLD", host,
                           absl::StrCat("HOLD: nothing is touched on ", host, ": ", why));
}

absl::Status NotStandalone() {
  return PreconditionError(
      "NOT_STANDALONE", "agent",
      "a server decides what is bound on this host, so nothing is bound by hand: bind through the "
      "server, or run the agent with --standalone");
}

absl::Status NotSimulated() {
  return PreconditionError("NOT_SIMULATED", "agent",
                           "only the device of a simulated kernel can be told to do DMA: run the "
                           "agent with --kernel sim");
}

absl::Status PasidSpaceFull(absl::string_view device, uint32_t first, uint32_t last) {
  google::rpc::QuotaFailure quota;
  auto* violation = quota.add_violations();
  violation->set_subject(std::string(device));
  violation->set_description(absl::StrFormat("every PASID of %u..%u is held", first, last));
  return MakeError(absl::StatusCode::kResourceExhausted, "PASID_SPACE_FULL",
                   absl::StrFormat("device %s has no free PASID in %u..%u; delete bindings or ask "
                                   "for a wider range",
                                   device, first, last),
                   {{"device", std::string(device)}}, &quota);
}

absl::Status QueueFull(absl::string_view queue, absl::Duration retry_after) {
  const auto retry = RetryAfter(retry_after);
  return MakeError(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                   absl::StrCat("the ", queue, " is full; try again later"),
                   {{"queue", std::string(queue)}}, &retry);
}

absl::Status RevisionCompacted(int64_t wanted, int64_t oldest) {
  return MakeError(absl::StatusCode::kOutOfRange, "REVISION_COMPACTED",
                   absl::StrFormat("the history begins after revision %d, revision %d is gone; "
                                   "start again without a resume token",
                                   oldest, wanted),
                   {{"oldest_revision", absl::StrCat(oldest)}});
}

absl::Status WaitTimeout(absl::string_view name, absl::string_view explanation) {
  return MakeError(absl::StatusCode::kDeadlineExceeded, "WAIT_TIMEOUT",
                   absl::StrCat("still waiting for ", name, ": ", explanation),
                   {{"resource", std::string(name)}});
}

absl::Status Unavailable(absl::string_view why, absl::Duration retry_after) {
  const auto retry = RetryAfter(retry_after);
  return MakeError(absl::StatusCode::kUnavailable, "UNAVAILABLE", std::string(why), {}, &retry);
}

absl::Status InvalidationFailed(absl::string_view name, const v1::Failure& failure) {
  const std::string what = absl::StrCat(name, ": ", failure.message());
  if (failure.reason() == "NOT_PROGRAMMED") return PreconditionError("NOT_PROGRAMMED", name, what);
  if (failure.reason() == "QUEUE_FULL") {
    return QueueFull(absl::StrCat("queue of invalidations of ", name), absl::Milliseconds(250));
  }
  if (failure.reason() == "UNAVAILABLE" && !failure.has_kernel_error()) {
    return Unavailable(what, absl::Seconds(1));
  }
  return KernelFailed(name, failure);
}

absl::Status StoreCorrupt(absl::string_view path, absl::string_view what) {
  return MakeError(absl::StatusCode::kDataLoss, "STORE_CORRUPT",
                   absl::StrCat("the store at ", path, " is damaged: ", what,
                                ". Nothing was changed; restore a backup, or move the directory "
                                "away to begin an empty store"),
                   {{"path", std::string(path)}});
}

}  // namespace errors

std::string ErrorReason(const absl::Status& status) {
  const google::rpc::Status rpc_status = ToRpcStatus(status);
  for (const auto& any : rpc_status.details()) {
    google::rpc::ErrorInfo info;
    if (any.UnpackTo(&info)) return info.reason();
  }
  return "";
}

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  google::rpc::Status result;
  if (auto payload = status.GetPayload(kDetailsPayload)) {
    result.ParseFromString(std::string(*payload));
  }
  result.set_code(static_cast<int>(status.code()));
  result.set_message(std::string(status.message()));
  return result;
}

absl::Status FromRpcStatus(const google::rpc::Status& status) {
  absl::Status result(static_cast<absl::StatusCode>(status.code()), status.message());
  if (!result.ok() && status.details_size() > 0) {
    google::rpc::Status details;
    *details.mutable_details() = status.details();
    result.SetPayload(kDetailsPayload, absl::Cord(details.SerializeAsString()));
  }
  return result;
}

}  // namespace nestor
