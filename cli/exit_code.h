// What nestorctl's exit code says. Scripts rely on these.
#pragma once

#include "absl/status/status.h"

namespace nestor::cli {

enum class ExitCode {
  kOk = 0,
  // The server refused, or a binding failed for good.
  kFailed = 1,
  // `diff` only, where a refusal is kUsage: applying would change something.
  kDiffers = 1,
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

// All that a shell can see, for people: `nestorctl help exit-codes`. Ends with a newline.
inline constexpr char kExitCodesText[] = R"(Exit codes of nestorctl:

    0  done; `diff`: nothing would change
    1  the server refused, or a binding failed for good; `diff`: something would change
    2  the command line or a manifest is wrong, nothing was sent; `diff`: or the server would
       refuse the manifest
    3  what was named does not exist
    4  time ran out while waiting (--timeout)
    5  the server cannot be reached, or did not answer in time (--timeout)
  130  interrupted by Ctrl-C
  141  the reader of the output went away, as in `nestorctl get vms | head -1`

Where several resources are named, the code is that of the first that failed. A command that
failed in part has done the rest, unless the server could not be reached.
)";

}  // namespace nestor::cli
