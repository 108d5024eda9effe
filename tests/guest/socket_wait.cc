#include "tests/guest/socket_wait.h"

#include <poll.h>
#include <sys/inotify.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <system_error>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "api/support/file_descriptor.h"
#include "api/support/status_macros.h"

namespace nestor::guest {
namespace {

using Clock = std::chrono::steady_clock;

bool Exists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// Watches the deepest directory above `path` that exists, for what appears in it, and gives
// the part of `path` that it lacked.
absl::StatusOr<std::filesystem::path> WatchAbove(int inotify, const std::filesystem::path& path) {
  constexpr uint32_t kEvents = IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
  for (auto missing = path;; missing = missing.parent_path()) {
    const auto directory = missing.parent_path();
    if (inotify_add_watch(inotify, directory.c_str(), kEvents) >= 0) return missing;
    if (errno != ENOENT || directory == missing) {
      return absl::ErrnoToStatus(errno, absl::StrCat("watching ", directory.string()));
    }
  }
}

// Waits for any event, and takes it. False: the deadline passed.
bool WaitForEvent(int inotify, Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  pollfd ready{.fd = inotify, .events = POLLIN, .revents = 0};
  if (left.count() <= 0 || poll(&ready, 1, static_cast<int>(left.count())) == 0) return false;
  std::array<char, 4096> events;
  while (read(inotify, events.data(), events.size()) > 0) {
  }
  return true;
}

}  // namespace

absl::Status WaitForPath(const std::string& path, absl::Duration timeout) {
  const auto deadline = Clock::now() + absl::ToChronoMilliseconds(timeout);
  const std::filesystem::path absolute = std::filesystem::absolute(path);
  for (;;) {
    // A watch of its own for each round, so that it is of what exists now.
    const FileDescriptor inotify(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!inotify.valid()) return absl::ErrnoToStatus(errno, "inotify");
    ASSIGN_OR_RETURN(const auto missing, WatchAbove(inotify.get(), absolute));
    // It may have come just before the watch did; what comes later is an event.
    if (Exists(missing)) {
      if (missing == absolute) return absl::OkStatus();
      continue;
    }
    if (!WaitForEvent(inotify.get(), deadline)) {
      return absl::DeadlineExceededError(absl::StrCat(path, " did not appear in time"));
    }
  }
}

}  // namespace nestor::guest
