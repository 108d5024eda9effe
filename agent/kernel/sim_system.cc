#include "agent/kernel/sim_system.h"

#include <fstream>

namespace nestor::kernel {
namespace {

// The description with what is left to the kernel filled in.
SimMachine Boot(SimMachine machine) {
  if (machine.boot_id.empty()) std::ifstream("/proc/sys/kernel/random/uuid") >> machine.boot_id;
  return machine;
}

}  // namespace

SimSystem::SimSystem(const SimMachine& description)
    : machine(Boot(description)),
      iommu(machine, memory),
      pasids(machine.iommu.pasid_quota, machine.iommu.pasid_capacity,
             [this](uint32_t pasid) { iommu.UnbindEverywhere(pasid); }),
      drivers(machine),
      hotplug(*this),
      sysfs(*this) {
  std::map<int, std::vector<int>> members;
  for (size_t device = 0; device < machine.devices.size(); ++device) {
    const int index = static_cast<int>(device);
    devices.push_back(std::make_unique<SimDevice>(machine, index, iommu));
    if (machine.iommu.enabled) members[machine.devices[device].iommu_group].push_back(index);
  }
  for (auto& [number, group_devices] : members) {
    groups.emplace(number, std::make_unique<SimVfioGroup>(*this, std::move(group_devices)));
  }
  hotplug.Boot();
  sysfs.Build();
}

}  // namespace nestor::kernel
