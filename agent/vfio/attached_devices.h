// Which devices this process has open, and what they can do.
#pragma once

#include <map>
#include <mutex>
#include <optional>

#include "agent/core/host_state.h"

namespace nestor::agent {

// A device that is attached cannot be probed, since its group is taken; what attaching found
// is remembered here and answers instead. Thread-safe.
class AttachedDevices {
 public:
  void Insert(const Bdf& device, const DeviceCapabilities& capabilities) {
    const std::lock_guard lock(mutex_);
    devices_[device] = capabilities;
  }
  void Erase(const Bdf& device) {
    const std::lock_guard lock(mutex_);
    devices_.erase(device);
  }
  std::optional<DeviceCapabilities> Find(const Bdf& device) const {
    const std::lock_guard lock(mutex_);
    const auto found = devices_.find(device);
    if (found == devices_.end()) return std::nullopt;
    return found->second;
  }

 private:
  mutable std::mutex mutex_;
  std::map<Bdf, DeviceCapabilities> devices_;
};

}  // namespace nestor::agent
