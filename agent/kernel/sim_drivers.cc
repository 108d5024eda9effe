#include "agent/kernel/sim_drivers.h"

#include <cerrno>

namespace nestor::kernel {

SimDrivers::SimDrivers(const SimMachine& machine) {
  for (const SimDeviceDescription& device : machine.devices) {
    // Virtual functions are not there yet.
    const bool is_there = device.physical_function.empty();
    devices_.push_back({is_there ? device.driver : "", "", device.driver});
    if (!device.driver.empty()) names_.insert(device.driver);
  }
}

int SimDrivers::Bind(int device, const std::string& driver) {
  Device& bound = devices_[device];
  if (!bound.driver.empty()) return -ENODEV;
  // Without an override, a driver takes only what is in its table of ids.
  const std::string& match = bound.override.empty() ? bound.first_driver : bound.override;
  if (driver != match || !names_.contains(driver)) return -ENODEV;
  bound.driver = driver;
  return 0;
}

int SimDrivers::Unbind(int device, const std::string& driver) {
  Device& bound = devices_[device];
  if (bound.driver != driver) return -ENODEV;
  bound.driver.clear();
  return 0;
}

void SimDrivers::Probe(int device) {
  const Device& unbound = devices_[device];
  (void)Bind(device, unbound.override.empty() ? unbound.first_driver : unbound.override);
}

void SimDrivers::Unplug(int device) {
  devices_[device].driver.clear();
  devices_[device].override.clear();
}

}  // namespace nestor::kernel
