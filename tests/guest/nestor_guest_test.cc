// The nestor-guest program, run as a person would.

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "agent/vmm/fake_shim.h"
#include "agent/vmm/vmm_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::guest {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Outcome {
  int exit_code = -1;
  std::string output;  // of both kinds
};

class NestorGuestTest : public testing::Test {
 protected:
  void SetUp() override {
    program_ = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "nestor-guest";
    if (!std::filesystem::exists(program_)) GTEST_SKIP() << program_ << " is not built";
    std::string name = testing::TempDir() + "nestor_guest.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  // Runs the program with `lines` as its input.
  Outcome Run(const std::string& arguments, const std::string& lines = "") {
    const std::string command =
        absl::StrCat("printf '", lines, "' | ", program_.string(), " ", arguments, " 2>&1");
    FILE* pipe = popen(command.c_str(), "r");
    Outcome outcome;
    std::array<char, 256> buffer;
    while (fgets(buffer.data(), buffer.size(), pipe) != nullptr) outcome.output += buffer.data();
    outcome.exit_code = WEXITSTATUS(pclose(pipe));
    return outcome;
  }

  std::string Machine() {
    return absl::StrCat("--socket-dir ", directory_,
                        " --vm projects/p/virtualMachines/v --device 0000:01:00.0 --memory 1MiB");
  }

  std::filesystem::path program_;
  std::string directory_;
};

TEST_F(NestorGuestTest, HandsMemoryOverAndAnswersEachLine) {
  auto server = agent::VmmServer::Start(directory_).value();
  const auto shim = std::make_shared<agent::FakeShim>();
  ASSERT_TRUE(server->AddDevice("projects/p/virtualMachines/v", "0000:01:00.0", shim).ok());
  const Outcome outcome =
      Run(Machine() + " --root 0x10000:text", "dma-read 5 0x7f0000000000 4\\nnonsense\\nquit\\n");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.output, StartsWith("ready 0000:01:00.0\n"
                                         "error not the simulated device"));
  EXPECT_THAT(outcome.output, HasSubstr("\nerror dma-read, dma-write"));
  server->Stop();
  EXPECT_THAT(shim->calls(),
              ElementsAre("connect", "map 0x0+0x100000", "read 0 0x0+8", "disconnect"));
}

TEST_F(NestorGuestTest, EndOfInputEndsItWell) {
  auto server = agent::VmmServer::Start(directory_).value();
  const auto shim = std::make_shared<agent::FakeShim>();
  ASSERT_TRUE(server->AddDevice("projects/p/virtualMachines/v", "0000:01:00.0", shim).ok());
  const Outcome outcome = Run(Machine());
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.output, "ready 0000:01:00.0\n");
}

TEST_F(NestorGuestTest, SocketThatDoesNotAppearIsNamed) {
  const Outcome outcome = Run(Machine() + " --timeout 0.01");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("p.v/0000:01:00.0.sock did not appear in time"));
}

TEST_F(NestorGuestTest, RootsThatCannotBeAreNamed) {
  for (const std::string root : {"0x10001:text", "0x10000", "0x10000:", "somewhere:text",
                                 "0xc0000:in-the-pool", "0x100000:beyond-memory"}) {
    const Outcome outcome = Run(Machine() + " --root " + root);
    EXPECT_EQ(outcome.exit_code, 1) << root;
    EXPECT_THAT(outcome.output, HasSubstr("--root " + root));
  }
}

TEST_F(NestorGuestTest, HelpHasExamples) {
  const Outcome outcome = Run("--help");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.output, HasSubstr("Examples:"));
}

TEST_F(NestorGuestTest, MissingOptionIsNamed) {
  const Outcome outcome = Run("--vm projects/p/virtualMachines/v");
  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_THAT(outcome.output, HasSubstr("required"));
}

}  // namespace
}  // namespace nestor::guest
