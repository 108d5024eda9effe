// The fence, compared where kernel state is held.
#pragma once

#include "absl/status/status.h"
#include "nestor/v1/agent_service.pb.h"

namespace nestor::agent {

// Keeps the highest fence seen. Not thread-safe.
class FenceKeeper {
 public:
  // Whether what comes under `fence` may be followed.
  // FAILED_PRECONDITION HOLD: another incarnation, i.e. another store or one that was
  // restored; no repetition clears it. ABORTED STALE_FENCE: a lower epoch (an older session),
  // or a lower head revision, whatever its epoch (an older message, a replica that lags, or
  // a store that was rolled back). INVALID_ARGUMENT: a part is missing.
  absl::Status Check(const v1::Fence& fence) const;
  // Remembers a fence that Check found good.
  void Keep(const v1::Fence& fence) { highest_ = fence; }
  // Empty incarnation: none seen.
  const v1::Fence& highest() const { return highest_; }

 private:
  v1::Fence highest_;
};

}  // namespace nestor::agent
