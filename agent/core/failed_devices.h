// Devices on which something failed, and when it is tried again.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/core/host_state.h"
#include "agent/core/retry_policy.h"

namespace nestor::agent {

// Every failure is taken for one that may pass: tried again for ever, with `backoff`. Not
// thread-safe.
class FailedDevices {
 public:
  struct Failure {
    absl::Status status;  // of the last attempt
    int64_t attempts = 0;
    absl::Time retry_at;
  };

  explicit FailedDevices(const Backoff& backoff) : backoff_(backoff) {}

  // An attempt ended: a success forgets the device.
  void Take(const Bdf& device, const absl::Status& outcome, absl::Time now);
  // Forgets it.
  void Erase(const Bdf& device) { failures_.erase(device); }
  // Null: nothing failed there.
  const Failure* Find(const Bdf& device) const;
  // Those whose time has come.
  std::vector<Bdf> Due(absl::Time now) const;
  // The earliest of all; unset: none.
  std::optional<absl::Time> NextRetry() const;

 private:
  const Backoff backoff_;
  std::map<Bdf, Failure> failures_;
};

}  // namespace nestor::agent
