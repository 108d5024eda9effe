// Shows how the work on many things gets on.
#pragma once

#include <ostream>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace nestor::cli {

// Counts of the work; `done` + `failed` == `total` when it is over.
struct Progress {
  int total = 0;
  int done = 0;
  // Will not be done any more.
  int failed = 0;

  bool Over() const { return done + failed == total; }
  bool operator==(const Progress&) const = default;
};

// On a terminal a bar that is redrawn, cut off at the right edge where the window is narrow;
// elsewhere plain lines, at most one per second. Not thread-safe.
class ProgressLine {
 public:
  // Writes to `out`, which must outlive it; `verb` says what is done, e.g. "programmed".
  ProgressLine(std::ostream& out, bool terminal, absl::string_view verb)
      : out_(out), terminal_(terminal), verb_(verb) {}

  // `elapsed` counts from the start of the work.
  void Update(const Progress& progress, absl::Duration elapsed);
  // Takes the bar off the terminal, so that something else can be written in its place.
  void Hide();
  // Shows the last state, and ends the line.
  void Finish(const Progress& progress, absl::Duration elapsed);

 private:
  void Write(const Progress& progress, absl::Duration elapsed);

  std::ostream& out_;
  const bool terminal_;
  const std::string verb_;
  Progress shown_;
  absl::Duration shown_at_;
  // The bar is on the terminal.
  bool visible_ = false;
};

}  // namespace nestor::cli
