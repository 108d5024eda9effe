// Shows how a wait gets on.
#pragma once

#include <ostream>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cli/wait_tracker.h"

namespace nestor::cli {

// On a terminal a bar that is redrawn; elsewhere plain lines, at most one per second. The
// last state is always shown.
class ProgressLine {
 public:
  // Writes to `out`, which must outlive it; `verb` is e.g. "programmed".
  ProgressLine(std::ostream& out, bool terminal, absl::string_view verb)
      : out_(out), terminal_(terminal), verb_(verb) {}

  // `elapsed` counts from the start of the wait.
  void Update(const WaitProgress& progress, absl::Duration elapsed);
  // Shows the last state, and ends the line.
  void Finish(const WaitProgress& progress, absl::Duration elapsed);

 private:
  void Write(const WaitProgress& progress, absl::Duration elapsed);

  std::ostream& out_;
  const bool terminal_;
  const std::string verb_;
  WaitProgress shown_;
  absl::Duration shown_at_ = -absl::InfiniteDuration();
};

}  // namespace nestor::cli
