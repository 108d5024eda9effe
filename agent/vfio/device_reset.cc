#include "agent/vfio/device_reset.h"

#include <cerrno>
#include <optional>

#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"
#include "api/support/status_macros.h"

namespace nestor::agent {

absl::Status ResetFailure(const absl::Status& failure, int unsupported) {
  const std::optional<KernelError> error = GetKernelError(failure);
  const bool has_none = error.has_value() && error->error_number == unsupported;
  return WithMessage(failure,
                     has_none ? absl::StatusCode::kUnimplemented : absl::StatusCode::kUnavailable,
                     failure.message());
}

absl::StatusOr<VfioFile> OpenUnusedGroup(kernel::Syscalls& syscalls, const PciFunction& function) {
  absl::StatusOr<VfioFile> group =
      VfioFile::Open(syscalls, absl::StrCat("/dev/vfio/", function.iommu_group), function.bdf);
  if (absl::IsUnavailable(group.status())) return WithReason(group.status(), "GROUP_BUSY");
  return group;
}

absl::Status ResetUnusedFunction(kernel::Syscalls& syscalls, const PciFunction& function) {
  ASSIGN_OR_RETURN(const VfioFile group, OpenUnusedGroup(syscalls, function));
  const std::string path = absl::StrCat("/sys/bus/pci/devices/", function.bdf, "/reset");
  const int result = syscalls.WriteFile(path, "1");
  if (result >= 0) return absl::OkStatus();
  // The attribute is there only where there is a reset.
  return ResetFailure(KernelErrorStatus({"write", path, -result}), ENOENT);
}

}  // namespace nestor::agent
