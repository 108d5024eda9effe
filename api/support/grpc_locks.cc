#include "api/support/grpc_locks.h"

#include "absl/synchronization/mutex.h"

namespace nestor {

void StopNotingOrderOfLocks() {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

}  // namespace nestor
