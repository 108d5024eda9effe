// What nestorctl's exit code says. Scripts rely on these; `nestorctl --help` lists them.
#pragma once

#include "absl/status/status.h"

namespace nestor::cli {

enum class ExitCode {
  kOk = 0,
  // The server refused, or a binding failed for good.
  kFailed = 1,
  // The command line or a manifest is wrong; nothing was sent.
  kUsage = 2,
  // What was named does not exist.
  kNotFound = 3,
  // Time ran out while waiting for a state.
  kWaitTimeout = 4,
  // The server cannot be reached, or did not answer in time.
  kUnreachable = 5,
};

// The exit code for a failed call.
ExitCode ExitCodeOf(const absl::Status& status);

}  // namespace nestor::cli
