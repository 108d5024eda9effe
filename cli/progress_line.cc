#include "cli/progress_line.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace nestor::cli {
namespace {

constexpr absl::Duration kPlainInterval = absl::Seconds(1);

// Back to the first column and erase the line (ECMA-48 CR, EL).
constexpr char kEraseLine[] = "\r\x1b[K";
// What is too long is cut off at the edge rather than wrapped to a line that no redraw would
// reach (DEC private mode 7).
constexpr char kWrapOff[] = "\x1b[?7l";
constexpr char kWrapOn[] = "\x1b[?7h";

std::string Bar(const Progress& progress) {
  constexpr int64_t kWidth = 30;
  const int64_t filled = progress.total == 0 ? kWidth : kWidth * progress.done / progress.total;
  return absl::StrCat(" [", std::string(filled, '#'), std::string(kWidth - filled, '.'), "]");
}

}  // namespace

void ProgressLine::Update(const Progress& progress, absl::Duration elapsed) {
  if (terminal_ ? visible_ && progress == shown_ : progress == shown_) return;
  if (!terminal_ && elapsed - shown_at_ < kPlainInterval) return;
  Write(progress, elapsed);
}

void ProgressLine::Hide() {
  if (visible_) out_ << kEraseLine << std::flush;
  visible_ = false;
}

void ProgressLine::Finish(const Progress& progress, absl::Duration elapsed) {
  if (terminal_ || !(progress == shown_)) Write(progress, elapsed);
  if (terminal_) out_ << '\n' << std::flush;
  visible_ = false;
}

void ProgressLine::Write(const Progress& progress, absl::Duration elapsed) {
  shown_ = progress;
  shown_at_ = elapsed;
  std::string line = absl::StrCat(progress.done, "/", progress.total, " ", verb_);
  if (progress.failed > 0) absl::StrAppend(&line, ", ", progress.failed, " failed");
  absl::StrAppendFormat(&line, ", %.1fs", absl::ToDoubleSeconds(elapsed));
  if (terminal_) {
    out_ << kEraseLine << kWrapOff << line << Bar(progress) << kWrapOn << std::flush;
    visible_ = true;
  } else {
    out_ << line << '\n' << std::flush;
  }
}

}  // namespace nestor::cli
