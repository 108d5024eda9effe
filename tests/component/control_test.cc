// What a monitor does at its machine's control socket, by a program in C; real processes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/component/local_cluster.h"
#include "tests/testing/process.h"

namespace nestor::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

constexpr char kDevice[] = "0000:01:00.0";
constexpr char kGva[] = "0x7f0000000000";

// An agent without a server, and a guest whose PASID 7 is bound.
class ControlTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const absl::Time deadline = absl::Now() + kPatience;
    while (Local({"dump"}) != 0 && absl::Now() < deadline) {
    }
    ASSERT_EQ(Local({"bind", "vm", kDevice, "7", "0x100000"}), 0) << output_;
    guest_ = std::make_unique<Process>(
        "nestor-guest",
        std::vector<std::string>{"--socket-dir", directory_.path() + "/vmm", "--vm",
                                 "projects/test/virtualMachines/vm", "--memory", "64MiB",
                                 "--device", kDevice, "--root", "0x100000:hello"},
        directory_.path() + "/guest.log");
    ASSERT_TRUE(guest_->ReadLine(kPatience).ok());
    ASSERT_EQ(Local({"bind", "vm", kDevice, "7", "0x100000", "--wait"}), 0) << output_;
  }

  // The exit code; what it printed is in output_.
  int Run(const char* program, const std::vector<std::string>& arguments) {
    Process process(program, arguments, directory_.path() + "/tools.log");
    output_ = process.ReadAll();
    return process.Wait(kPatience).value_or(-1);
  }
  int Local(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(),
                     {"--local", "unix:" + directory_.path() + "/local.sock", "--project", "test"});
    return Run("nestorctl", arguments);
  }
  int Control(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), directory_.path() + "/vmm/test.vm/control.sock");
    return Run("nestor-control-example", arguments);
  }
  std::string Dma() {
    return guest_->Ask(std::string("dma-read 7 ") + kGva + " 64", kPatience).value_or("no answer");
  }

  TemporaryDirectory directory_;
  Process agent_{"nestor-agent",
                 {"--standalone", "--kernel", "sim", "--run-dir", directory_.path()},
                 directory_.path() + "/agent.log"};
  std::unique_ptr<Process> guest_;
  std::string output_;
};

TEST_F(ControlTest, MonitorSeesItsMachine) {
  ASSERT_EQ(Control({"info"}), 0);
  EXPECT_THAT(output_, HasSubstr("vm projects/test/virtualMachines/vm\n"));
  EXPECT_THAT(output_, ContainsRegex("instance [0-9a-f]{8}-"));
  EXPECT_THAT(output_, HasSubstr("device 0000:01:00.0 " + directory_.path() +
                                 "/vmm/test.vm/0000:01:00.0.sock pasid bits 20\n"));
  EXPECT_THAT(output_, HasSubstr("binding 0000:01:00.0 pasid 7 root 0x100000 programmed \n"));
}

TEST_F(ControlTest, ChangedEntryIsSeenAfterTheMonitorHasItInvalidated) {
  ASSERT_EQ(Dma(), "ok hello");
  ASSERT_EQ(guest_->Ask("remap 0x100000 0x7f0000000000 changed", kPatience).value(), "ok");
  EXPECT_EQ(Dma(), "ok hello") << "the device has it cached";
  ASSERT_EQ(Control({"invalidate", kDevice, "7", kGva, "4096"}), 0);
  EXPECT_EQ(output_, "dropped\n");
  EXPECT_EQ(Dma(), "ok changed");
  EXPECT_EQ(Control({"invalidate", kDevice, "8"}), 1) << "nothing is bound there";
}

}  // namespace
}  // namespace nestor::testing
