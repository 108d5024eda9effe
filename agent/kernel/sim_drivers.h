// Which driver each device is bound to, and the ways to change it.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "agent/kernel/sim_machine.h"

namespace nestor::kernel {

// The PCI bus's driver model; a device is its index in SimMachine::devices. The drivers are
// those that the machine begins with, and vfio-pci. Not thread-safe.
class SimDrivers {
 public:
  explicit SimDrivers(const SimMachine& machine);

  const std::set<std::string>& names() const { return names_; }
  // Empty: none.
  const std::string& DriverOf(int device) const { return devices_[device].driver; }
  // Empty: none, which sysfs shows as "(null)".
  const std::string& OverrideOf(int device) const { return devices_[device].override; }
  void SetOverride(int device, const std::string& driver) { devices_[device].override = driver; }

  // Binds: 0; -ENODEV: bound already, or the override names another driver.
  int Bind(int device, const std::string& driver);
  // Unbinds: 0; -ENODEV: not bound to that.
  int Unbind(int device, const std::string& driver);
  // Looks for a driver for a device without one: its override's, else the one that it began
  // with. What there is none of is left unbound.
  void Probe(int device);
  // The device is gone, with its driver and override.
  void Unplug(int device);

 private:
  struct Device {
    std::string driver;
    std::string override;
    std::string first_driver;
  };
  std::set<std::string> names_ = {"vfio-pci"};
  std::vector<Device> devices_;
};

}  // namespace nestor::kernel
