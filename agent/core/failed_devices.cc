#include "agent/core/failed_devices.h"

#include <algorithm>

namespace nestor::agent {

void FailedDevices::Take(const Bdf& device, const absl::Status& outcome, absl::Time now) {
  if (outcome.ok()) {
    failures_.erase(device);
    return;
  }
  Failure& failure = failures_[device];
  ++failure.attempts;
  failure.status = outcome;
  failure.retry_at = now + Delay(backoff_, failure.attempts, /*seed=*/0);
}

const FailedDevices::Failure* FailedDevices::Find(const Bdf& device) const {
  const auto found = failures_.find(device);
  return found == failures_.end() ? nullptr : &found->second;
}

std::vector<Bdf> FailedDevices::Due(absl::Time now) const {
  std::vector<Bdf> due;
  for (const auto& [device, failure] : failures_) {
    if (failure.retry_at <= now) due.push_back(device);
  }
  return due;
}

std::optional<absl::Time> FailedDevices::NextRetry() const {
  std::optional<absl::Time> next;
  for (const auto& [device, failure] : failures_) {
    next = std::min(failure.retry_at, next.value_or(absl::InfiniteFuture()));
  }
  return next;
}

}  // namespace nestor::agent
