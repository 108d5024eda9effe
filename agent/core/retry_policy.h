// Whether, why and when a failed step is tried again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace nestor::agent {

// What kind of failure a status is.
struct FailureClass {
  bool transient = false;  // waiting helps
  std::string reason;      // UPPER_SNAKE_CASE, as clients see it
  bool operator==(const FailureClass&) const = default;
};

// Classifies a status that is not OK by its errno where it has one (GetKernelError), else by
// its code. A reason that the status carries (GetReason) comes before the one of the table.
FailureClass Classify(const absl::Status& failure);

// Exponential backoff: `first`, then twice as much for each attempt, up to `longest`.
struct Backoff {
  absl::Duration first = absl::Milliseconds(100);
  absl::Duration longest = absl::Seconds(30);
};

// How long to wait after the `attempts`-th failed attempt (from 1). Up to a fifth is taken
// off, decided by `seed`, so that what failed together is not retried together.
absl::Duration Delay(const Backoff& backoff, int64_t attempts, uint64_t seed);

// What comes of a failure.
struct RetryDecision {
  std::string reason;
  std::optional<absl::Time> retry_at;  // unset: permanent
  bool operator==(const RetryDecision&) const = default;
};

// Decides after the `attempts`-th failed attempt (from 1).
RetryDecision DecideRetry(const Backoff& backoff, const absl::Status& failure, int64_t attempts,
                          uint64_t seed, absl::Time now);

}  // namespace nestor::agent
