// A closed loop: so many calls in flight, each followed by the next as soon as it ended.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/time/time.h"

namespace nestor::bench {

struct LoopResult {
  double rate = 0;  // calls a second
  absl::Duration p50;
  absl::Duration p99;
  int64_t calls = 0;
  int64_t failures = 0;  // of these calls
};

// Starts one call and calls `done` once, on any thread, when it ended.
using StartCall = std::function<void(std::function<void(bool ok)> done)>;

// Keeps `in_flight` calls running for `duration`, then waits for the last ones. The first
// tenth of the time warms up and is not counted.
LoopResult RunClosedLoop(int in_flight, absl::Duration duration, const StartCall& start);

// The value below which `share` (0-1) of `samples` are. `samples` is not empty.
absl::Duration Percentile(std::vector<absl::Duration> samples, double share);

}  // namespace nestor::bench
