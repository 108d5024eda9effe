#include "cli/progress_line.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace nestor::cli {
namespace {

std::string Bar(const WaitProgress& progress) {
  constexpr int kWidth = 30;
  const int filled = progress.total == 0 ? kWidth : kWidth * progress.reached / progress.total;
  return absl::StrCat("[", std::string(filled, '#'), std::string(kWidth - filled, '.'), "] ");
}

}  // namespace

void ProgressLine::Update(const WaitProgress& progress, absl::Duration elapsed) {
  if (progress == shown_) return;
  if (!terminal_ && elapsed - shown_at_ < absl::Seconds(1)) return;
  Write(progress, elapsed);
}

void ProgressLine::Finish(const WaitProgress& progress, absl::Duration elapsed) {
  if (terminal_ || !(progress == shown_)) Write(progress, elapsed);
  if (terminal_) out_ << '\n' << std::flush;
}

void ProgressLine::Write(const WaitProgress& progress, absl::Duration elapsed) {
  shown_ = progress;
  shown_at_ = elapsed;
  // Carriage return, and erase to the end of the line (ECMA-48 EL).
  if (terminal_) out_ << "\r\x1b[K" << Bar(progress);
  out_ << progress.reached << "/" << progress.total << " " << verb_;
  if (progress.failed > 0) out_ << ", " << progress.failed << " failed";
  out_ << absl::StrFormat(", %.1fs", absl::ToDoubleSeconds(elapsed));
  if (!terminal_) out_ << '\n';
  out_ << std::flush;
}

}  // namespace nestor::cli
