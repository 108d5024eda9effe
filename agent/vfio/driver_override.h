// Binds functions to vfio-pci for as long as they are for virtual machines, and back.
#pragma once

#include "absl/status/status.h"
#include "agent/core/host_state.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/pci_inventory.h"
#include "agent/vfio/preparation_record.h"

namespace nestor::agent {

// Both calls may be made at any state in between that an earlier one left, and in either
// order: they look at what is, do what is missing, and judge by what is there at the end. The
// kernel may let a call wait that takes a function from its driver. Not thread-safe.
class DriverOverride {
 public:
  // Both must outlive this.
  DriverOverride(kernel::Syscalls& syscalls, PreparationRecord& record)
      : syscalls_(syscalls), record_(record) {}

  // Takes a function from its host driver and binds it to vfio-pci. One that is bound there
  // already is left alone and not recorded: whoever did it undoes it. Where it fails, what was
  // done is undone as far as it can be. FAILED_PRECONDITION with a reason: NO_IOMMU_GROUP;
  // GROUP_SHARED, naming the siblings and their drivers; HAS_VIRTUAL_FUNCTIONS: their driver
  // would take them away; DRIVER_NOT_VFIO: vfio-pci did not take it. NOT_FOUND NO_DEVICE.
  // Other errors are the kernel's, or the record's.
  absl::Status Prepare(const Bdf& device);

  // Undoes that and forgets it. One that is no longer there
  // is forgotten. Ignored where it was never prepared. FAILED_PRECONDITION HOST_DRIVER_MISSING:
  // the driver did not take it back; UNAVAILABLE GROUP_BUSY: a machine has it, and the kernel
  // would wait for that; the kernel's errors. Then it stays recorded.
  absl::Status GiveBack(const Bdf& device);

 private:
  absl::Status Record(const PciFunction& function);
  absl::Status BindToVfio(const PciFunction& function);
  absl::Status BindToHost(const PciFunction& function, const HostDriver& before);
  absl::Status CheckNoSiblings(const PciFunction& function) const;
  absl::StatusOr<std::string> ReadOverride(const Bdf& device) const;
  absl::Status SetOverride(const Bdf& device, const std::string& driver);
  absl::Status Write(const std::string& path, const std::string& content);

  kernel::Syscalls& syscalls_;
  PreparationRecord& record_;
};

}  // namespace nestor::agent
