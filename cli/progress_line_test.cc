#include "cli/progress_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace nestor::cli {
namespace {

TEST(ProgressLine, PlainLinesComeAtMostOncePerSecondAndAtTheEnd) {
  std::ostringstream out;
  ProgressLine line(out, false, "programmed");
  line.Update({3, 0, 0}, absl::Seconds(0));
  line.Update({3, 1, 0}, absl::Milliseconds(500));
  line.Update({3, 2, 0}, absl::Milliseconds(1200));
  line.Update({3, 2, 0}, absl::Seconds(5));
  line.Finish({3, 2, 1}, absl::Seconds(6));
  EXPECT_EQ(out.str(), "2/3 programmed, 1.2s\n2/3 programmed, 1 failed, 6.0s\n");
}

TEST(ProgressLine, TerminalGetsABarThatIsRedrawnAndNeverWraps) {
  std::ostringstream out;
  ProgressLine line(out, true, "gone");
  line.Update({2, 1, 0}, absl::Seconds(1));
  line.Update({2, 1, 0}, absl::Seconds(1));
  line.Finish({2, 2, 0}, absl::Seconds(2));
  EXPECT_EQ(out.str(),
            "\r\x1b[K\x1b[?7l1/2 gone, 1.0s [###############...............]\x1b[?7h"
            "\r\x1b[K\x1b[?7l2/2 gone, 2.0s [##############################]\x1b[?7h\n");
}

TEST(ProgressLine, HiddenBarIsErasedOnceAndComesBack) {
  std::ostringstream out;
  ProgressLine line(out, true, "applied");
  line.Hide();
  EXPECT_EQ(out.str(), "");
  line.Update({2, 1, 0}, absl::Seconds(1));
  out.str("");
  line.Hide();
  line.Hide();
  EXPECT_EQ(out.str(), "\r\x1b[K");
  out.str("");
  line.Update({2, 1, 0}, absl::Seconds(1));
  EXPECT_THAT(out.str(), ::testing::HasSubstr("1/2 applied"));
}

TEST(ProgressLine, NothingToHideElsewhere) {
  std::ostringstream out;
  ProgressLine line(out, false, "applied");
  line.Update({2, 1, 0}, absl::Seconds(1));
  out.str("");
  line.Hide();
  EXPECT_EQ(out.str(), "");
}

}  // namespace
}  // namespace nestor::cli
