#include "agent/kernel/sim_kernel.h"

#include <algorithm>

#include "agent/kernel/sim_system.h"

namespace nestor::kernel {

SimKernel::SimKernel(const SimMachine& machine) : system_(std::make_unique<SimSystem>(machine)) {}

SimKernel::~SimKernel() = default;

std::unique_ptr<SimProcess> SimKernel::CreateProcess() {
  const std::lock_guard lock(system_->mutex);
  return std::make_unique<SimProcess>(*system_, system_->next_address_space++);
}

std::unique_ptr<DeviceEvents> SimKernel::WatchDevices() {
  return std::make_unique<SimDeviceEvents>(*system_);
}

SimStatistics SimKernel::Statistics() const {
  const std::lock_guard lock(system_->mutex);
  SimStatistics statistics;
  statistics.descriptors = system_->descriptors;
  statistics.containers = system_->containers;
  statistics.groups =
      static_cast<int>(std::count_if(system_->groups.begin(), system_->groups.end(),
                                     [](const auto& group) { return group.second->in_use(); }));
  statistics.pasid_sets = system_->pasids.sets();
  statistics.pasids = system_->pasids.pasids();
  statistics.bindings = static_cast<int>(system_->iommu.bindings().size());
  statistics.mappings = system_->memory.pins();
  statistics.iommufds = system_->iommufds;
  statistics.bound_devices = system_->bound_devices;
  statistics.ioases = system_->ioases;
  statistics.hwpts = system_->hwpts;
  statistics.viommus = system_->viommus;
  statistics.attachments = system_->attachments;
  statistics.iotlb_entries = system_->iommu.iotlb_entries();
  for (const auto& device : system_->devices) {
    statistics.dmas += device->dma_count();
    statistics.faults += device->fault_count();
  }
  return statistics;
}

std::vector<SimBinding> SimKernel::Bindings() const {
  const std::lock_guard lock(system_->mutex);
  std::vector<SimBinding> bindings;
  const auto entries = system_->iommu.bindings();
  bindings.reserve(entries.size());
  for (const auto& [key, stage1] : entries) {
    bindings.push_back({system_->machine.devices[key.first].bdf, key.second, stage1});
  }
  return bindings;
}

std::vector<SimFault> SimKernel::Faults() const {
  const std::lock_guard lock(system_->mutex);
  return {system_->iommu.faults().begin(), system_->iommu.faults().end()};
}

}  // namespace nestor::kernel
