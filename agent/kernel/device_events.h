// When to look at the host's PCI devices again.
#pragma once

#include "absl/time/time.h"

namespace nestor::kernel {

// Tells that something about PCI devices or their drivers changed, never what: whoever waits
// reads sysfs again. One thread waits; Interrupt is thread-safe.
class DeviceEvents {
 public:
  virtual ~DeviceEvents() = default;
  // Returns when there was a change since the last call, when `longest` has passed, or when
  // Interrupt was called since the last call. Many changes may count as one; some kernels
  // tell none, so that `longest` is what bounds the delay.
  virtual void Wait(absl::Duration longest) = 0;
  virtual void Interrupt() = 0;
};

}  // namespace nestor::kernel
