#include "agent/shim/shim_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_join.h"

namespace nestor::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr char kName[] = "projects/p/virtualMachines/v";
const ShimSetup kSetup = {.program = "/usr/bin/nestor-shim", .run_dir = "/run/n"};

std::string Line(const std::vector<std::string>& command) { return absl::StrJoin(command, " "); }

class ShimCommandTest : public ::testing::Test {
 protected:
  ShimCommandTest() {
    std::string pattern = "/tmp/nestor-command-XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~ShimCommandTest() override { std::filesystem::remove_all(directory_); }

  std::string Write(const std::string& name, const std::string& content) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path) << content;
    return path;
  }

  std::string directory_;
};

TEST_F(ShimCommandTest, ForkedShimDetachesItself) {
  EXPECT_EQ(Line(ForkCommand(kSetup, {kName, "u-1"}, "/run/n/shims/u-1.sock")),
            "/usr/bin/nestor-shim --vm projects/p/virtualMachines/v --uid u-1 "
            "--listen /run/n/shims/u-1.sock --vmm-dir /run/n/vmm --kernel linux --iommu type1 "
            "--log-level info "
            "--detach");
}

TEST_F(ShimCommandTest, SystemdRunsItAsATransientServiceThatSaysWhenItIsReady) {
  EXPECT_EQ(
      Line(SystemdCommand(kSetup, {kName, "u-1", /*after_loss=*/true}, "/run/n/shims/u-1.sock")),
      "systemd-run --quiet --collect --unit=nestor-shim-u-1 "
      "--description=Nestor: owner of projects/p/virtualMachines/v --service-type=notify "
      "--property=LimitMEMLOCK=infinity --property=OOMScoreAdjust=-999 -- /usr/bin/nestor-shim "
      "--vm projects/p/virtualMachines/v --uid u-1 --listen /run/n/shims/u-1.sock "
      "--vmm-dir /run/n/vmm --kernel linux --iommu type1 --log-level info --after-loss");
}

TEST_F(ShimCommandTest, SocketIsNamedAfterTheUid) {
  EXPECT_EQ(*ShimSocketPath("/run/n", "u-1"), "/run/n/shims/u-1.sock");
  EXPECT_EQ(VmUidOf("u-1.sock"), "u-1");
  EXPECT_EQ(VmUidOf("u-1.sock.new"), "");
  EXPECT_EQ(VmUidOf("u-1.log"), "");
  for (const std::string uid : {"", "../x", "a/b", "a b"}) {
    EXPECT_EQ(ShimSocketPath("/run/n", uid).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(ShimCommandTest, CopyIsNamedAfterItsContentAndCanRun) {
  const std::string program = Write("program", "#!/bin/sh\nexit 0\n");
  const std::string copies = directory_ + "/copies";
  const std::string first = *CopyUnderContentHash(program, copies);
  EXPECT_THAT(first, MatchesRegex(copies + "/nestor-shim-[0-9a-f]{16}"));
  EXPECT_TRUE(RunCommand({first}, absl::Seconds(10)).ok());
  EXPECT_EQ(*CopyUnderContentHash(program, copies), first);
  Write("program", "#!/bin/sh\nexit 1\n");
  EXPECT_NE(*CopyUnderContentHash(program, copies), first);
  EXPECT_TRUE(std::filesystem::exists(first));
  EXPECT_EQ(CopyUnderContentHash(directory_ + "/none", copies).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(ShimCommandTest, CommandThatFailsIsToldWithWhatItPrinted) {
  const absl::Status failed =
      RunCommand({"sh", "-c", "echo no such machine >&2; exit 3"}, absl::Seconds(10));
  EXPECT_EQ(failed.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(failed.message()), HasSubstr("failed: no such machine"));
  EXPECT_EQ(RunCommand({directory_ + "/none"}, absl::Seconds(10)).code(),
            absl::StatusCode::kNotFound);
}

TEST_F(ShimCommandTest, CommandThatHangsIsKilled) {
  EXPECT_EQ(RunCommand({"sleep", "600"}, absl::Milliseconds(20)).code(),
            absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace nestor::agent
