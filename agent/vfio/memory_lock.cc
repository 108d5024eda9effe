#include "agent/vfio/memory_lock.h"

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "agent/vfio/refusal.h"

namespace nestor::agent {
namespace {

// The bit of CapEff that lifts the limit (linux/capability.h).
constexpr int kCapIpcLock = 14;

// Of a file of procfs; none where it cannot be read.
std::vector<std::string> ReadLines(kernel::Syscalls& syscalls, const std::string& path) {
  std::string text;
  if (syscalls.ReadFile(path, &text) < 0) return {};
  return absl::StrSplit(text, '\n');
}

bool MayExceedLimit(kernel::Syscalls& syscalls) {
  for (absl::string_view line : ReadLines(syscalls, "/proc/self/status")) {
    uint64_t capabilities = 0;
    if (absl::ConsumePrefix(&line, "CapEff:") &&
        absl::SimpleHexAtoi(absl::StripAsciiWhitespace(line), &capabilities)) {
      return (capabilities >> kCapIpcLock & 1) != 0;
    }
  }
  return false;
}

}  // namespace

MemoryLockLimit ReadMemoryLockLimit(kernel::Syscalls& syscalls) {
  MemoryLockLimit limit;
  limit.unlimited = MayExceedLimit(syscalls);
  for (absl::string_view line : ReadLines(syscalls, "/proc/self/limits")) {
    if (!absl::ConsumePrefix(&line, "Max locked memory")) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    uint64_t bytes = 0;
    if (words.empty()) continue;
    if (words[0] == "unlimited") limit.unlimited = true;
    if (absl::SimpleAtoi(words[0], &bytes)) limit.bytes = bytes;
  }
  return limit;
}

absl::Status CheckMemoryLock(const MemoryLockLimit& limit, uint64_t needed) {
  if (limit.unlimited || !limit.bytes.has_value() || *limit.bytes >= needed) {
    return absl::OkStatus();
  }
  return Refuse(
      "MEMLOCK_LOW",
      absl::StrCat("this process may lock ", *limit.bytes >> 20, " MiB of memory, ", needed >> 20,
                   " MiB of guests are to be mapped: raise the limit, of the agent's "
                   "service with LimitMEMLOCK=infinity"),
      absl::StatusCode::kResourceExhausted);
}

}  // namespace nestor::agent
