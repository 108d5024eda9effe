// A failed kernel call inside an absl::Status.
#pragma once

#include <optional>
#include <string>
#include "absl/strings/string_view.h"

#include "absl/status/status.h"

namespace nestor::agent {

// What failed, on which object, with which errno.
struct KernelError {
  std::string operation;  // "VFIO_IOMMU_NESTING_OP(BIND_PGTBL)"
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

// "EBUSY", or "errno 524" for one without a name.
std::string ErrnoName(int error_number);

}  // namespace nestor::agent
