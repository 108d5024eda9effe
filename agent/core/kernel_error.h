// A failed kernel call, and the typed reason of a refusal, inside an absl::Status.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace nestor::agent {

// What failed, on which object, with which errno.
struct KernelError {
  std::string operation;  // "VFIO_IOMMU_NESTING_OP(BIND_PGTBL)"; without line breaks
  std::string object;     // "0000:3b:00.0 pasid 5 root 0x12345000"
  int error_number = 0;   // errno, positive
  bool operator==(const KernelError&) const = default;
};

// A status with that error in its payload; the message is
// "{operation} on {object}: {EBUSY} ({strerror})". The code follows errno: EBUSY and EAGAIN
// UNAVAILABLE; ENOSPC, ENOMEM, EMFILE, ENFILE and EDQUOT RESOURCE_EXHAUSTED; ENOENT and
// ENODEV NOT_FOUND; EEXIST ALREADY_EXISTS; EACCES and EPERM PERMISSION_DENIED; ENOTTY,
// EOPNOTSUPP and 524 UNIMPLEMENTED; EINVAL INVALID_ARGUMENT; EINTR ABORTED; else INTERNAL.
absl::Status KernelErrorStatus(const KernelError& error);
// Another code where the caller knows better.
absl::Status KernelErrorStatus(const KernelError& error, absl::StatusCode code);

// The kernel error in a status, if there is one.
std::optional<KernelError> GetKernelError(const absl::Status& status);

// `status` with the UPPER_SNAKE_CASE reason that clients see, e.g. "GROUP_NOT_VIABLE", in
// place of one it may have had. Code, message and kernel error stay; OK stays OK.
absl::Status WithReason(absl::Status status, absl::string_view reason);

// The reason in a status; empty where there is none.
std::string GetReason(const absl::Status& status);

// `status` with another code and message; its kernel error and reason stay.
absl::Status WithMessage(const absl::Status& status, absl::StatusCode code,
                         absl::string_view message);

// "EBUSY", or "errno 524" for one without a name.
std::string ErrnoName(int error_number);

}  // namespace nestor::agent
