// Waiting for the agent to open a device's socket.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace nestor::guest {

// Returns when `path` exists; it and the directories above it may be made in the meantime.
// The kernel says when they are (inotify). DEADLINE_EXCEEDED: not within `timeout`.
// Another code: the path cannot be watched.
absl::Status WaitForPath(const std::string& path, absl::Duration timeout);

}  // namespace nestor::guest
