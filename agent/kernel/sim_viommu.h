// Guests' shares of an SMMUv3.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "agent/kernel/sim_hwpt.h"
#include "agent/kernel/sim_iommufd_object.h"

namespace nestor::kernel {

class SimVdevice;

// A share over a nest parent, with its devices by the names that the guest has for them.
class SimViommu final : public SimIommufdObject {
 public:
  SimViommu(SimSystem& system, std::shared_ptr<SimPagingHwpt> parent);
  ~SimViommu() override;

  const std::shared_ptr<SimPagingHwpt>& parent() const { return parent_; }
  bool HasDevice(int device) const;
  // Null: none has that name.
  const SimVdevice* Find(uint64_t name) const;

 private:
  friend class SimVdevice;
  SimSystem& system_;
  const std::shared_ptr<SimPagingHwpt> parent_;
  std::map<uint64_t, const SimVdevice*> devices_;  // by name
};

// A device in it.
class SimVdevice final : public SimIommufdObject {
 public:
  // `device` is its index in SimMachine::devices; the name is free.
  SimVdevice(std::shared_ptr<SimViommu> viommu, int device, uint64_t name)
      : viommu_(std::move(viommu)), device_(device), name_(name) {
    viommu_->devices_[name_] = this;
  }
  ~SimVdevice() override { viommu_->devices_.erase(name_); }

  int device() const { return device_; }

 private:
  const std::shared_ptr<SimViommu> viommu_;
  const int device_;
  const uint64_t name_;
};

}  // namespace nestor::kernel
