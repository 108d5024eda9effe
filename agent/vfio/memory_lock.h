// How much memory this process may lock, which VFIO does with all that devices can reach.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "agent/kernel/syscalls.h"

namespace nestor::agent {

struct MemoryLockLimit {
  bool unlimited = false;         // also by CAP_IPC_LOCK
  std::optional<uint64_t> bytes;  // unset: unlimited, or it cannot be read
  bool operator==(const MemoryLockLimit&) const = default;
};

MemoryLockLimit ReadMemoryLockLimit(kernel::Syscalls& syscalls);

// RESOURCE_EXHAUSTED MEMLOCK_LOW, with the fix, where `needed` bytes are more than the limit.
// What cannot be read is left to the kernel.
absl::Status CheckMemoryLock(const MemoryLockLimit& limit, uint64_t needed);

}  // namespace nestor::agent
