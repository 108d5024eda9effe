// Resets of functions that no virtual machine has.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/pci_inventory.h"
#include "agent/vfio/vfio_file.h"

namespace nestor::agent {

// What a failed reset is, whichever way it was asked for: UNIMPLEMENTED where the errno is
// `unsupported`, which says that the function has no reset; else UNAVAILABLE. ENOTTY in
// particular is what the kernel answers for a function that does not come back from its reset.
absl::Status ResetFailure(const absl::Status& failure, int unsupported);

// The group of a function that nobody uses; while it is open nobody else can. UNAVAILABLE
// GROUP_BUSY: somebody uses it. Other errors are the kernel's.
absl::StatusOr<VfioFile> OpenUnusedGroup(kernel::Syscalls& syscalls, const PciFunction& function);

// Has the kernel reset a function that is bound to vfio-pci, by its sysfs attribute, and holds
// its group meanwhile, so that it is nobody else's. UNAVAILABLE GROUP_BUSY: it is somebody's.
// Others as ResetFailure.
absl::Status ResetUnusedFunction(kernel::Syscalls& syscalls, const PciFunction& function);

}  // namespace nestor::agent
