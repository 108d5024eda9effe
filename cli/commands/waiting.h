// Waits until resources are as wanted, and says what happened.
#pragma once

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cli/commands/session.h"
#include "cli/wait_tracker.h"

namespace nestor::cli {

// A wait that nothing bounds otherwise ends after this.
inline constexpr absl::Duration kDefaultWait = absl::Seconds(60);

// Watches until all that `tracker` waits for is decided or `timeout` has passed, showing
// progress meanwhile; a broken watch is opened again. Then reports what did not get there, the
// first with its explanation. kOk, kFailed where something cannot reach the goal, kNotFound where
// it does not exist, kWaitTimeout, or as ExitCodeOf where the server cannot be watched.
ExitCode WaitFor(const Session& session, Connection& connection, WaitTracker& tracker,
                 absl::Duration timeout);

}  // namespace nestor::cli
