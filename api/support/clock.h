// The clock port. Decisions take the time as an argument; only edges own a Clock.
#pragma once

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace nestor {

// Tells the time. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Wall time, for what people read and for expiry that survives a restart.
  virtual absl::Time Now() const = 0;
};

// The machine's clock.
class SystemClock final : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
};

}  // namespace nestor
