#include "agent/kernel/sim_hotplug.h"

#include <algorithm>
#include <cerrno>

#include "agent/kernel/sim_system.h"

namespace nestor::kernel {

void SimHotplug::Boot() {
  for (size_t device = 0; device < system_.machine.devices.size(); ++device) {
    if (system_.machine.devices[device].physical_function.empty()) {
      present_.insert(static_cast<int>(device));
    }
  }
}

std::vector<int> SimHotplug::FunctionsOf(int device) const {
  const auto& devices = system_.machine.devices;
  std::vector<int> functions;
  for (size_t other = 0; other < devices.size(); ++other) {
    if (devices[other].physical_function == devices[device].bdf) {
      functions.push_back(static_cast<int>(other));
    }
  }
  return functions;
}

bool SimHotplug::IsInUse(int device) const {
  const auto group = system_.groups.find(system_.machine.devices[device].iommu_group);
  return group != system_.groups.end() && group->second->in_use() &&
         system_.drivers.DriverOf(device) == "vfio-pci";
}

void SimHotplug::Remove(int device) {
  for (const int function : FunctionsOf(device)) Remove(function);
  if (!IsPresent(device)) return;
  if (IsInUse(device)) {
    leaving_.insert(device);
  } else {
    Unplug(device);
  }
}

void SimHotplug::Unplug(int device) {
  system_.drivers.Unplug(device);
  system_.devices[device]->Reset();
  present_.erase(device);
  leaving_.erase(device);
  Announce();
}

void SimHotplug::Plug(int device) {
  present_.insert(device);
  system_.drivers.Probe(device);
  Announce();
}

void SimHotplug::Rescan() {
  for (size_t device = 0; device < system_.machine.devices.size(); ++device) {
    const bool is_virtual = !system_.machine.devices[device].physical_function.empty();
    const int index = static_cast<int>(device);
    if (!is_virtual && !IsPresent(index)) Plug(index);
  }
}

int SimHotplug::VirtualFunctions(int device) const {
  const std::vector<int> functions = FunctionsOf(device);
  return static_cast<int>(std::count_if(functions.begin(), functions.end(),
                                        [this](int function) { return IsPresent(function); }));
}

int SimHotplug::TotalVirtualFunctions(int device) const {
  return static_cast<int>(FunctionsOf(device).size());
}

int SimHotplug::SetVirtualFunctions(int device, int count) {
  const int enabled = VirtualFunctions(device);
  if (count < 0 || count > TotalVirtualFunctions(device)) return -ERANGE;
  if (count == enabled) return 0;
  if (system_.drivers.DriverOf(device).empty()) return -ENOENT;
  if (count > 0 && enabled > 0) return -EBUSY;
  const std::vector<int> functions = FunctionsOf(device);
  for (int i = 0; i < count; ++i) Plug(functions[i]);
  if (count > 0) return 0;
  for (const int function : functions) Remove(function);
  return 0;
}

void SimHotplug::GroupWasReleased() {
  const std::set<int> leaving = leaving_;
  for (const int device : leaving) {
    if (!IsInUse(device)) Unplug(device);
  }
  if (!leaving.empty()) system_.sysfs.Build();
}

void SimHotplug::Announce() {
  ++changes_;
  changed_.notify_all();
}

SimDeviceEvents::SimDeviceEvents(SimSystem& system) : system_(system) {
  const std::lock_guard lock(system_.mutex);
  seen_ = system_.hotplug.changes_;
}

void SimDeviceEvents::Wait(absl::Duration longest) {
  std::unique_lock lock(system_.mutex);
  system_.hotplug.changed_.wait_for(lock, absl::ToChronoNanoseconds(longest), [this] {
    return interrupted_ || seen_ != system_.hotplug.changes_;
  });
  seen_ = system_.hotplug.changes_;
  interrupted_ = false;
}

void SimDeviceEvents::Interrupt() {
  const std::lock_guard lock(system_.mutex);
  interrupted_ = true;
  system_.hotplug.changed_.notify_all();
}

}  // namespace nestor::kernel
