// Device events of a kernel that tells none.
#pragma once

#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"
#include "agent/kernel/device_events.h"

namespace nestor::kernel {

class SilentDeviceEvents final : public DeviceEvents {
 public:
  void Wait(absl::Duration longest) override {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, absl::ToChronoNanoseconds(longest), [this] { return interrupted_; });
    interrupted_ = false;
  }
  void Interrupt() override {
    const std::lock_guard lock(mutex_);
    interrupted_ = true;
    changed_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool interrupted_ = false;
};

}  // namespace nestor::kernel
