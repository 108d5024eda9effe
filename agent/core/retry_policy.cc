#include "agent/core/retry_policy.h"

#include <algorithm>
#include <cerrno>

#include "absl/strings/string_view.h"
#include "agent/core/kernel_error.h"

namespace nestor::agent {
namespace {

struct ErrnoRow {
  int error_number;
  bool transient;
  absl::string_view reason;
};

constexpr ErrnoRow kErrnoTable[] = {
    {EBUSY, true, "KERNEL_BUSY"},
    {EAGAIN, true, "KERNEL_BUSY"},
    {EINTR, true, "KERNEL_BUSY"},
    {ENOMEM, true, "HOST_OUT_OF_MEMORY"},
    // PASIDs are what a host runs out of; where it is another thing the backend says so.
    {ENOSPC, true, "PASID_TAKEN_ON_HOST"},
    {EMFILE, true, "HOST_OUT_OF_DESCRIPTORS"},
    {ENFILE, true, "HOST_OUT_OF_DESCRIPTORS"},
    {EINVAL, false, "KERNEL_REFUSED"},
    {EFAULT, false, "KERNEL_REFUSED"},
    {ENODEV, false, "DEVICE_GONE"},
    {ENOENT, false, "DEVICE_GONE"},
    {ENOTTY, false, "UNSUPPORTED"},
    {EOPNOTSUPP, false, "UNSUPPORTED"},
    {524, false, "UNSUPPORTED"},  // ENOTSUPP, the kernel's own
    {EACCES, false, "PERMISSION"},
    {EPERM, false, "PERMISSION"},
};

struct CodeRow {
  absl::StatusCode code;
  bool transient;
  absl::string_view reason;
};

// Refusals before any call, by the backend or by Nestor itself.
constexpr CodeRow kCodeTable[] = {
    {absl::StatusCode::kUnavailable, true, "UNAVAILABLE"},
    {absl::StatusCode::kAborted, true, "UNAVAILABLE"},
    {absl::StatusCode::kResourceExhausted, true, "PASID_TAKEN_ON_HOST"},
    {absl::StatusCode::kInvalidArgument, false, "FIELD_INVALID"},
    {absl::StatusCode::kFailedPrecondition, false, "DEVICE_UNSUITABLE"},
    {absl::StatusCode::kNotFound, false, "DEVICE_GONE"},
    {absl::StatusCode::kUnimplemented, false, "UNSUPPORTED"},
    {absl::StatusCode::kPermissionDenied, false, "PERMISSION"},
};

// What nobody foresaw may pass by itself, and trying again is cheap.
constexpr absl::string_view kUnforeseen = "KERNEL_ERROR";

FailureClass ByErrno(int error_number) {
  for (const ErrnoRow& row : kErrnoTable) {
    if (row.error_number == error_number) return {row.transient, std::string(row.reason)};
  }
  return {true, std::string(kUnforeseen)};
}

FailureClass ByCode(absl::StatusCode code) {
  for (const CodeRow& row : kCodeTable) {
    if (row.code == code) return {row.transient, std::string(row.reason)};
  }
  return {true, std::string(kUnforeseen)};
}

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): spreads neighbouring values.
uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

}  // namespace

FailureClass Classify(const absl::Status& failure) {
  const std::optional<KernelError> error = GetKernelError(failure);
  FailureClass result = error.has_value() ? ByErrno(error->error_number) : ByCode(failure.code());
  if (std::string reason = GetReason(failure); !reason.empty()) result.reason = std::move(reason);
  return result;
}

absl::Duration Delay(const Backoff& backoff, int64_t attempts, uint64_t seed) {
  absl::Duration delay = backoff.first;
  for (int64_t i = 1; i < attempts && delay < backoff.longest; ++i) delay *= 2;
  delay = std::min(delay, backoff.longest);
  constexpr int kSteps = 1024;
  const int64_t step = static_cast<int64_t>(Mix(seed + static_cast<uint64_t>(attempts)) % kSteps);
  return delay - delay / 5 * step / kSteps;
}

RetryDecision DecideRetry(const Backoff& backoff, const absl::Status& failure, int64_t attempts,
                          uint64_t seed, absl::Time now) {
  FailureClass what = Classify(failure);
  RetryDecision decision{std::move(what.reason), std::nullopt};
  if (what.transient) decision.retry_at = now + Delay(backoff, attempts, seed);
  return decision;
}

}  // namespace nestor::agent
