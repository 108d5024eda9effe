#include "agent/kernel/sim_viommu.h"

#include <algorithm>

#include "agent/kernel/sim_system.h"

namespace nestor::kernel {

SimViommu::SimViommu(SimSystem& system, std::shared_ptr<SimPagingHwpt> parent)
    : system_(system), parent_(std::move(parent)) {
  ++system_.viommus;
}

SimViommu::~SimViommu() { --system_.viommus; }

bool SimViommu::HasDevice(int device) const {
  return std::any_of(devices_.begin(), devices_.end(),
                     [&](const auto& entry) { return entry.second->device() == device; });
}

const SimVdevice* SimViommu::Find(uint64_t name) const {
  const auto found = devices_.find(name);
  return found == devices_.end() ? nullptr : found->second;
}

}  // namespace nestor::kernel
