// The steps that opening a device has in common for all kernel interfaces.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "agent/core/host_state.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/pci_inventory.h"
#include "agent/vfio/vfio_file.h"

namespace nestor::agent {

// errno of the kernel error in `status`; 0: it has none.
int ErrnoOf(const absl::Status& status);

// `refusal` with the failed call that led to it.
absl::Status BecauseOf(const absl::Status& cause, const absl::Status& refusal);

// What IommuBackend::Probe answers to what opening the device found: a refusal that says the
// device cannot nest is an answer, too.
absl::StatusOr<DeviceCapabilities> CapabilitiesOrRefusal(
    const absl::StatusOr<DeviceCapabilities>& opened);

// The function as sysfs shows it, if it has a group and is bound to vfio-pci; else why not.
absl::StatusOr<PciFunction> FindVfioFunction(kernel::Syscalls& syscalls, const Bdf& device);

// Opens a node of /dev for a device. PERMISSION_DENIED PERMISSION; where there is no such
// node, `missing` of what was not found. Other errors are the kernel's.
absl::StatusOr<VfioFile> OpenNode(kernel::Syscalls& syscalls, const std::string& path,
                                  const Bdf& device,
                                  absl::Status (*missing)(absl::string_view what));

}  // namespace nestor::agent
