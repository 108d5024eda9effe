// The IOMMU port over VFIO type1 containers with nested translation
// (VFIO_TYPE1_NESTING_IOMMU, VFIO_IOMMU_PASID_REQUEST, VFIO_IOMMU_NESTING_OP).
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "agent/core/host_state.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/attached_devices.h"
#include "agent/vfio/iommu_backend.h"

namespace nestor::agent {

// One container per device, since a nesting container holds exactly one IOMMU group.
//
// PASIDs are system-wide and owned by the process, not by a container, so an address space
// binds only what it allocated itself. A bind is never repeated blindly: the kernel answers
// a second bind of a PASID by dropping the first. A root change has a gap.
//
// Why a device cannot be used, as GetReason of Attach and DeviceCapabilities::reason:
//   NO_DEVICE, NO_IOMMU_GROUP, NO_VFIO, DRIVER_NOT_VFIO, GROUP_NOT_VIABLE, GROUP_SHARED,
//   NESTING_UNSUPPORTED_KERNEL, NESTING_UNSUPPORTED_HARDWARE, PASID_UNSUPPORTED; and, where
//   waiting or another account helps, as an error of Probe too: GROUP_BUSY (UNAVAILABLE),
//   PASID_QUOTA (RESOURCE_EXHAUSTED), PERMISSION (PERMISSION_DENIED).
// Thread-safe; outlives its address spaces.
class Type1Backend final : public IommuBackend {
 public:
  // `syscalls` must outlive the backend.
  explicit Type1Backend(kernel::Syscalls& syscalls) : syscalls_(syscalls) {}

  absl::string_view name() const override { return "type1"; }
  bool replace_has_gap() const override { return true; }
  absl::StatusOr<DeviceCapabilities> Probe(const Bdf& device) override;
  absl::StatusOr<std::unique_ptr<AddressSpace>> CreateAddressSpace() override;

 private:
  kernel::Syscalls& syscalls_;
  AttachedDevices attached_devices_;
};

}  // namespace nestor::agent
