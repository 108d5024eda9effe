// The program lists a large fleet in bounded memory, and stops when nobody reads on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <future>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/commands/fake_server.h"
#include "cli/test_shell.h"

namespace nestor::cli {
namespace {

constexpr int kBindings = 100'000;
// Less than half of what the smallest list of these tests would take as text or as messages.
constexpr int64_t kMaxGrowthKib = 16 << 10;
// Buffers of the transport and the printer have their final size by then.
constexpr int kWarm = 5'000;

// The peak of a process's resident memory; 0 where it cannot be read.
int64_t PeakKib(pid_t pid) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  for (std::string line; std::getline(status, line);) {
    absl::string_view value = line;
    int64_t kib = 0;
    if (absl::ConsumePrefix(&value, "VmHWM:") && absl::ConsumeSuffix(&value, " kB") &&
        absl::SimpleAtoi(value, &kib)) {
      return kib;
    }
  }
  return 0;
}

class LargeListTest : public ::testing::Test {
 protected:
  LargeListTest() {
    // AddressSanitizer keeps what was freed; without a bound that looks like growth.
    const char* options = getenv("ASAN_OPTIONS");
    setenv("ASAN_OPTIONS",
           absl::StrCat(options == nullptr ? "" : options,
                        ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64")
               .c_str(),
           1);
    fake_.bindings.generated = kBindings;
  }

  FakeServer fake_;
};

struct Case {
  const char* format;
  int bindings;
};

class LargeListFormatTest : public LargeListTest, public ::testing::WithParamInterface<Case> {};

TEST_P(LargeListFormatTest, ManyObjectsTakeTheMemoryOfOnePage) {
  const int bindings = GetParam().bindings;
  fake_.bindings.generated = bindings;
  std::promise<pid_t> started;
  std::shared_future<pid_t> pid = started.get_future().share();
  int64_t warm = 0;
  int64_t last = 0;
  fake_.bindings.before_page = [&](int first) {
    if (first == kWarm) warm = PeakKib(pid.get());
    last = PeakKib(pid.get());
  };
  testing::Process nestorctl("nestorctl",
                             {"get", "bindings", "-A", "-o", GetParam().format, "--insecure",
                              "--server", fake_.address(), "--timeout", "60s"},
                             fake_.directory() + "/log");
  started.set_value(nestorctl.pid());
  const std::string out = nestorctl.ReadAll();
  const auto exit_code = nestorctl.Wait(absl::Seconds(60));
  ASSERT_TRUE(exit_code.ok()) << exit_code.status();
  EXPECT_EQ(*exit_code, 0);
  EXPECT_GE(std::count(out.begin(), out.end(), '\n'), bindings);
  EXPECT_TRUE(absl::StrContains(out, absl::StrCat("sva-", bindings - 1)));
  ASSERT_GT(warm, 0);
  EXPECT_LE(last - warm, kMaxGrowthKib) << "from " << warm << " to " << last << " KiB";
}

INSTANTIATE_TEST_SUITE_P(Formats, LargeListFormatTest,
                         ::testing::Values(Case{"table", kBindings}, Case{"json", kBindings},
                                           // YAML takes ten times as long.
                                           Case{"yaml", 30'000}),
                         [](const auto& one) { return one.param.format; });

TEST_F(LargeListTest, EndsQuietlyAndSoonWhenTheReaderLeaves) {
  std::atomic<int> asked = 0;
  fake_.bindings.before_page = [&](int first) { asked = first; };
  const ShellOutcome outcome = RunShell(absl::StrCat(
      "nestorctl get bindings -A --insecure --server ", fake_.address(), " 2>", fake_.directory(),
      "/err | head -1; echo ${PIPESTATUS[0]}; cat ", fake_.directory(), "/err"));
  EXPECT_THAT(outcome.out, ::testing::MatchesRegex("NAME [^\n]*\n141\n"));
  EXPECT_LT(asked, kBindings / 2);
}

TEST_F(LargeListTest, EndsSoonWhenTheDiskIsFull) {
  std::atomic<int> asked = 0;
  fake_.bindings.before_page = [&](int first) { asked = first; };
  const ShellOutcome outcome = RunShell(absl::StrCat(
      "nestorctl get bindings -A --insecure --server ", fake_.address(), " 2>&1 >/dev/full"));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "error: cannot write the output\n");
  EXPECT_LT(asked, kBindings / 2);
}

}  // namespace
}  // namespace nestor::cli
