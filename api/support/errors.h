// The error catalogue: every error that Nestor's API or agents give is named here once,
// with its code and typed details. docs/errors.md explains each reason to a person.
//
// An error is an absl::Status whose payload holds the typed details of google.rpc, so that
// one function (api/support/grpc_status.h) turns any of them into gRPC.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "nestor/v1/resources.pb.h"

namespace nestor {

inline constexpr std::string_view kErrorDomain = "nestor.dev";

// Collects what is wrong with a request, field by field.
class FieldViolations {
 public:
  // `field` is the path from the request's root, e.g. "pasid_binding.spec.device".
  void Add(std::string_view field, std::string_view description);
  // Adds every violation of `status` (made by ToStatus) under `prefix`.
  bool empty() const { return violations_.empty(); }
  // OK where empty, else INVALID_ARGUMENT FIELD_INVALID with BadRequest. At most 64 are
  // listed; the message names the first.
  absl::Status ToStatus() const;

 private:
  std::vector<std::pair<std::string, std::string>> violations_;
};

namespace errors {

// INVALID_ARGUMENT
absl::Status FieldInvalid(std::string_view field, std::string_view description);
absl::Status RequestIdReused(std::string_view request_id);
absl::Status ProtocolError(std::string_view what);
// NOT_FOUND
absl::Status NotFound(std::string_view name);
// ALREADY_EXISTS
absl::Status AlreadyExists(std::string_view name);
absl::Status PasidInUse(std::string_view device, uint32_t pasid, std::string_view holder);
absl::Status AgentConflict(std::string_view host);
// ABORTED
absl::Status EtagMismatch(std::string_view name, std::string_view current);
absl::Status Contention(std::string_view what);
absl::Status SessionSuperseded(std::string_view host);
absl::Status NotSessionOwner(std::string_view host);
// FAILED_PRECONDITION
absl::Status HostUnknown(std::string_view host);
absl::Status HostCordoned(std::string_view host);
absl::Status HostConnected(std::string_view host);
absl::Status HasChildren(std::string_view name, std::string_view what);
absl::Status DeviceInUse(std::string_view device, std::string_view holder);
absl::Status DeviceNotOwned(std::string_view device, std::string_view virtual_machine);
absl::Status DeviceUnsuitable(std::string_view device, std::string_view why);
absl::Status Deleting(std::string_view name);
absl::Status BindingFailed(std::string_view name, const v1::Failure& failure);
absl::Status StoreIncompatible(std::string_view what);
// RESOURCE_EXHAUSTED
absl::Status PasidSpaceFull(std::string_view device, uint32_t first, uint32_t last);
absl::Status QueueFull(std::string_view queue, absl::Duration retry_after);
// OUT_OF_RANGE
absl::Status RevisionCompacted(int64_t wanted, int64_t oldest);
// DEADLINE_EXCEEDED
absl::Status WaitTimeout(std::string_view name, std::string_view explanation);
// UNAVAILABLE
absl::Status Unavailable(std::string_view why, absl::Duration retry_after);
// DATA_LOSS
absl::Status StoreCorrupt(std::string_view path, std::string_view what);

}  // namespace errors

// The ErrorInfo.reason of an error of this catalogue; empty for any other status.
std::string ErrorReason(const absl::Status& status);

// The typed details of a status as google.rpc.Status; code and message are filled for any
// status.
google::rpc::Status ToRpcStatus(const absl::Status& status);

// The reverse of ToRpcStatus.
absl::Status FromRpcStatus(const google::rpc::Status& status);

}  // namespace nestor
