#include "agent/vfio/explained_open.h"

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"
#include "agent/vfio/refusal.h"
#include "api/support/status_macros.h"

namespace nestor::agent {

int ErrnoOf(const absl::Status& status) {
  const auto error = GetKernelError(status);
  return error.has_value() ? error->error_number : 0;
}

absl::Status BecauseOf(const absl::Status& cause, const absl::Status& refusal) {
  return WithReason(WithMessage(cause, refusal.code(),
                                absl::StrCat(refusal.message(), " (", cause.message(), ")")),
                    GetReason(refusal));
}

absl::StatusOr<DeviceCapabilities> CapabilitiesOrRefusal(
    const absl::StatusOr<DeviceCapabilities>& opened) {
  if (opened.ok() || !absl::IsFailedPrecondition(opened.status())) return opened;
  DeviceCapabilities unusable;
  unusable.reason = GetReason(opened.status());
  unusable.message = std::string(opened.status().message());
  return unusable;
}

absl::StatusOr<PciFunction> FindVfioFunction(kernel::Syscalls& syscalls, const Bdf& device) {
  ASSIGN_OR_RETURN(PciFunction function, ReadPciFunction(syscalls, device));
  RETURN_IF_ERROR(CheckHasGroup(function));
  RETURN_IF_ERROR(CheckDriver(function));
  return function;
}

absl::StatusOr<VfioFile> OpenNode(kernel::Syscalls& syscalls, const std::string& path,
                                  const Bdf& device,
                                  absl::Status (*missing)(absl::string_view what)) {
  absl::StatusOr<VfioFile> file = VfioFile::Open(syscalls, path, device);
  switch (ErrnoOf(file.status())) {
    case EACCES:
    case EPERM:
      return BecauseOf(
          file.status(),
          Refuse("PERMISSION", absl::StrCat("give the agent read and write access to ", path),
                 absl::StatusCode::kPermissionDenied));
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return BecauseOf(file.status(), missing(absl::StrCat("there is no ", path)));
    default:
      return file;
  }
}

}  // namespace nestor::agent
