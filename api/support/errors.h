// The error catalogue: every error that Nestor's API or agents give is named here once,
// with its code and typed details. docs/errors.md explains each reason to a person.
//
// An error is an absl::Status whose payload holds the typed details of google.rpc, so that
// one function (api/support/grpc_status.h) turns any of them into gRPC.
#pragma once

#include <string>
#include <utility>
#include <vector>
#include "absl/strings/string_view.h"

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "nestor/v1/resources.pb.h"

namespace nestor {

inline constexpr absl::string_view kErrorDomain = "nestor.dev";

// Where in a request a field is: below `parent`, which must outlive it, or at the root. Costs
// nothing until it is asked for, as most fields are right.
class FieldPath {
 public:
  // `name` must outlive it, too. Implicit, since a path of one part is what most functions get.
  FieldPath(absl::string_view name) : name_(name) {}   // NOLINT(google-explicit-constructor)
  FieldPath(const char* name) : name_(name) {}         // NOLINT(google-explicit-constructor)
  FieldPath(const std::string& name) : name_(name) {}  // NOLINT(google-explicit-constructor)
  FieldPath(const FieldPath& parent, absl::string_view name) : parent_(&parent), name_(name) {}
  // e.g. "pasid_binding.spec.device"
  std::string ToString() const;

 private:
  const FieldPath* parent_ = nullptr;
  absl::string_view name_;
};

// Collects what is wrong with a request, field by field.
class FieldViolations {
 public:
  void Add(const FieldPath& field, absl::string_view description);
  bool empty() const { return violations_.empty(); }
  // OK where empty, else INVALID_ARGUMENT FIELD_INVALID with BadRequest. At most 64 are
  // listed; the message names the first.
  absl::Status ToStatus() const;

 private:
  std::vector<std::pair<std::string, std::string>> violations_;
};

namespace errors {

// INVALID_ARGUMENT
absl::Status FieldInvalid(absl::string_view field, absl::string_view description);
absl::Status RequestIdReused(absl::string_view request_id);
absl::Status ProtocolError(absl::string_view what);
// PERMISSION_DENIED; `caller` is who the certificate says it is.
absl::Status IdentityUnknown(absl::string_view caller);
absl::Status IdentityMismatch(absl::string_view caller, absl::string_view host);
absl::Status RoleDenied(absl::string_view caller, absl::string_view allowed);
// NOT_FOUND
absl::Status NotFound(absl::string_view name);
// ALREADY_EXISTS
absl::Status AlreadyExists(absl::string_view name);
absl::Status PasidInUse(absl::string_view device, uint32_t pasid, absl::string_view holder);
absl::Status AgentConflict(absl::string_view host);
// ABORTED
absl::Status EtagMismatch(absl::string_view name, absl::string_view current);
absl::Status Contention(absl::string_view what);
absl::Status SessionSuperseded(absl::string_view host);
absl::Status NotSessionOwner(absl::string_view host);
// FAILED_PRECONDITION
absl::Status HostUnknown(absl::string_view host);
absl::Status HostCordoned(absl::string_view host);
absl::Status HostDraining(absl::string_view host);
absl::Status HostFenced(absl::string_view host, const v1::HostFence& fence);
absl::Status HostConnected(absl::string_view host, absl::string_view what_to_do);
absl::Status HasChildren(absl::string_view name, absl::string_view what);
absl::Status DeviceInUse(absl::string_view device, absl::string_view holder);
absl::Status DeviceNotOwned(absl::string_view device, absl::string_view virtual_machine);
absl::Status DeviceUnsuitable(absl::string_view device, absl::string_view why);
absl::Status Deleting(absl::string_view name);
absl::Status Moving(absl::string_view virtual_machine, absl::string_view leaving_host);
absl::Status BindingFailed(absl::string_view name, const v1::Failure& failure);
absl::Status StoreIncompatible(absl::string_view what);
absl::Status NotStandalone();
absl::Status NotSimulated();
absl::Status Hold(absl::string_view host, absl::string_view why);
// RESOURCE_EXHAUSTED
absl::Status PasidSpaceFull(absl::string_view device, uint32_t first, uint32_t last);
absl::Status QueueFull(absl::string_view queue, absl::Duration retry_after);
// OUT_OF_RANGE
absl::Status RevisionCompacted(int64_t wanted, int64_t oldest);
// DEADLINE_EXCEEDED
absl::Status WaitTimeout(absl::string_view name, absl::string_view explanation);
// UNAVAILABLE
absl::Status Unavailable(absl::string_view why, absl::Duration retry_after);
// A host could not drop the cached translations of `name`: FAILED_PRECONDITION NOT_PROGRAMMED,
// QueueFull or Unavailable where that is the failure's reason; else the kernel refused:
// UNAVAILABLE where the failure is TRANSIENT and FAILED_PRECONDITION where not, with the
// failure's reason, and with operation, object and errno in ErrorInfo's metadata.
absl::Status InvalidationFailed(absl::string_view name, const v1::Failure& failure);
// DATA_LOSS
absl::Status StoreCorrupt(absl::string_view path, absl::string_view what);

}  // namespace errors

// The ErrorInfo.reason of an error of this catalogue; empty for any other status.
std::string ErrorReason(const absl::Status& status);

// The typed details of a status as google.rpc.Status; code and message are filled for any
// status.
google::rpc::Status ToRpcStatus(const absl::Status& status);

// The reverse of ToRpcStatus.
absl::Status FromRpcStatus(const google::rpc::Status& status);

}  // namespace nestor
