// Every example that a help text shows is a command line that runs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/commands/fake_server.h"
#include "cli/test_shell.h"

namespace nestor::cli {
namespace {

using ::testing::AnyOf;
using ::testing::Not;

// The lines under "Examples:".
std::vector<std::string> Examples(const std::string& help) {
  std::vector<std::string> examples;
  bool inside = false;
  for (absl::string_view line : absl::StrSplit(help, '\n')) {
    if (inside && !absl::StartsWith(line, "  ")) break;
    // One depends on the machine: it names the server.
    if (inside && !absl::StrContains(line, "export ")) examples.emplace_back(line);
    inside = inside || line == "Examples:";
  }
  return examples;
}

class ExamplesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fake_.machines.stored[kMachine].set_name(kMachine);
    fake_.watch.streams = {{{}, grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "enough")}};
    std::filesystem::create_directory_symlink(NESTOR_SOURCE_DIR "/examples",
                                              fake_.directory() + "/examples");
  }

  ShellOutcome Run(const std::string& line) {
    return RunShell(absl::StrCat("cd ", fake_.directory(), " && export NESTOR_SERVER=",
                                 fake_.address(), " NESTOR_ADMIN_SERVER=", fake_.address(),
                                 " NESTOR_INSECURE=true NESTOR_PROJECT=demo && ", line));
  }

  FakeServer fake_;
};

TEST_F(ExamplesTest, OfEveryCommandAreUnderstood) {
  for (const char* command : {"", "apply", "bind", "completion", "delete", "describe", "diff",
                              "drain-host", "explain", "fence-host", "get", "help", "invalidate",
                              "timeline", "unbind", "undrain-host", "version", "wait", "watch"}) {
    const auto examples = Examples(Run(absl::StrCat("nestorctl ", command, " --help")).out);
    EXPECT_FALSE(examples.empty()) << command;
    for (const std::string& example : examples) {
      // 2: not understood. 126, 127: the shell did not find it.
      const int exit_code = Run(absl::StrCat("{ ", example, "\n} 2>&1")).exit_code;
      EXPECT_THAT(exit_code, Not(AnyOf(2, 126, 127))) << example;
    }
  }
}

}  // namespace
}  // namespace nestor::cli
