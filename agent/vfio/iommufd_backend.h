// The IOMMU port over VFIO device files and /dev/iommu (Linux 6.6 and later).
#pragma once

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "agent/core/host_state.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/attached_devices.h"
#include "agent/vfio/iommu_backend.h"
#include "agent/vfio/iommufd_open.h"

namespace nestor::agent {

// One iommufd per address space; in it, for each device, an I/O address space of its own with
// a nest parent over it, and a nested page table for each root. VT-d nests PASIDs and the
// device itself; SMMUv3 the device itself, through a vIOMMU; others are reported as unusable.
//
// A root change is one attach, which replaces: the kernel never forgets what is attached,
// though VT-d hardware blocks for the moment in which its entry is written. A new root must
// lie in mapped memory, which the kernel does not check. What a failed attach leaves in the
// hardware nobody can tell, so the old table is detached and attached again then.
//
// Why a device cannot be used, as GetReason of Attach and DeviceCapabilities::reason:
//   NO_DEVICE, NO_IOMMU_GROUP, NO_IOMMUFD, DRIVER_NOT_VFIO, GROUP_NOT_VIABLE, GROUP_SHARED,
//   NESTING_UNSUPPORTED_KERNEL, NESTING_UNSUPPORTED_HARDWARE; and, where waiting or another
//   account helps, as an error of Probe too: GROUP_BUSY (UNAVAILABLE), PERMISSION
//   (PERMISSION_DENIED).
// Thread-safe; outlives its address spaces.
class IommufdBackend final : public IommuBackend {
 public:
  // `syscalls` must outlive the backend.
  explicit IommufdBackend(kernel::Syscalls& syscalls, IommufdSeams seams = {})
      : syscalls_(syscalls), seams_(std::move(seams)) {}

  absl::string_view name() const override { return "iommufd"; }
  bool replace_has_gap() const override { return false; }
  absl::StatusOr<DeviceCapabilities> Probe(const Bdf& device) override;
  absl::StatusOr<std::unique_ptr<AddressSpace>> CreateAddressSpace() override;

 private:
  absl::StatusOr<DeviceCapabilities> ProbeUnattached(const Bdf& device);

  kernel::Syscalls& syscalls_;
  const IommufdSeams seams_;
  AttachedDevices attached_devices_;
};

}  // namespace nestor::agent
