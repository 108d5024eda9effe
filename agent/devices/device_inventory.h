// The devices of a host that are, or are to be, for virtual machines.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/core/failed_devices.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/driver_override.h"
#include "agent/vfio/iommu_backend.h"
#include "agent/vfio/pci_inventory.h"
#include "agent/vfio/preparation_record.h"
#include "agent/vfio/prepare_selection.h"

namespace nestor::agent {

struct DeviceInventoryOptions {
  PrepareSelection prepare;
  // What is known of devices that machines have already, and that therefore answer no probe.
  std::map<Bdf, DeviceCapabilities> held = {};
  Backoff prepare_backoff{absl::Seconds(5), absl::Minutes(5)};
  Backoff reset_backoff{absl::Seconds(1), absl::Minutes(1)};
};

// Level triggered: Refresh makes of the host, as it finds it, what it should be. No thread or
// clock; not thread-safe.
//
// Selected functions are bound to vfio-pci; those that an agent prepared earlier and that are
// selected no more go back to their host driver as soon as nobody uses them. A device whose
// last reset failed is quarantined: shown as DEVICE_QUARANTINED until a reset succeeds.
class DeviceInventory {
 public:
  // `syscalls` and `backend` must outlive this.
  DeviceInventory(kernel::Syscalls& syscalls, IommuBackend& backend, PreparationRecord record,
                  DeviceInventoryOptions options);

  // Looks at sysfs, prepares and gives back, probes what is new or could not be used. An error
  // to read sysfs leaves everything as it was; what fails on one device is that device's reason.
  absl::Status Refresh(absl::Time now);
  // A machine's owner, or RetryResets, has reset a device.
  void TakeReset(const Bdf& device, const absl::Status& outcome, absl::Time now);
  // Resets those quarantined devices whose time has come; how each ended. One that is in use
  // is left to its user.
  std::vector<absl::Status> RetryResets(absl::Time now);

  // Those bound to vfio-pci, those selected and those that are still to be given back, by address.
  std::vector<DeviceFacts> Devices() const;
  // When there is something to try again; unset: nothing.
  std::optional<absl::Time> NextRetry() const;

 private:
  // Brings one function to where it should be.
  void Settle(PciFunction* function, absl::Time now);
  DeviceFacts Inspect(PciFunction function) const;

  kernel::Syscalls& syscalls_;
  IommuBackend& backend_;
  const DeviceInventoryOptions options_;
  const std::unique_ptr<PreparationRecord> record_;
  DriverOverride drivers_;
  std::map<Bdf, DeviceFacts> devices_;
  FailedDevices preparations_;  // in either direction
  FailedDevices resets_;
};

}  // namespace nestor::agent
