// An agent without a server, in real processes: bind by hand, prove it by DMA, unbind.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "tests/component/local_cluster.h"
#include "tests/testing/process.h"

namespace nestor::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kDevice[] = "0000:01:00.0";
constexpr char kGva[] = "0x7f0000000000";

class LocalTest : public ::testing::Test {
 protected:
  LocalTest()
      : agent_("nestor-agent", {"--standalone", "--kernel", "sim", "--run-dir", directory_.path()},
               directory_.path() + "/agent.log") {
    // Until its socket is there.
    const absl::Time deadline = absl::Now() + kPatience;
    std::string output;
    while (Ctl({"dump"}, &output) != 0 && absl::Now() < deadline) {
    }
  }

  int Ctl(std::vector<std::string> arguments, std::string* output) {
    arguments.insert(arguments.begin(),
                     {"--local", "unix:" + directory_.path() + "/local.sock", "--project", "test"});
    Process ctl("nestorctl", arguments, directory_.path() + "/ctl.log");
    *output = ctl.ReadAll();
    return ctl.Wait(kPatience).value_or(-1);
  }

  TemporaryDirectory directory_;
  Process agent_;
};

TEST_F(LocalTest, BindingMadeByHandIsWalkedByDmaUntilItIsUnbound) {
  std::string output;
  ASSERT_EQ(Ctl({"check"}, &output), 0) << output;
  ASSERT_EQ(Ctl({"bind", "vm", kDevice, "7", "0x100000"}, &output), 0) << output;
  EXPECT_THAT(output, HasSubstr("WAITING_FOR_VMM"));
  Process guest(
      "nestor-guest",
      {"--socket-dir", directory_.path() + "/vmm", "--vm", "projects/test/virtualMachines/vm",
       "--memory", "64MiB", "--device", kDevice, "--root", "0x100000:hello"},
      directory_.path() + "/guest.log");
  ASSERT_TRUE(guest.ReadLine(kPatience).ok());
  ASSERT_EQ(Ctl({"bind", "vm", kDevice, "7", "0x100000", "--wait"}, &output), 0) << output;
  EXPECT_EQ(output, "PASID 7 of 0000:01:00.0: PROGRAMMED\n");
  ASSERT_EQ(Ctl({"dma-test", kDevice, "7", kGva, "--size", "5"}, &output), 0) << output;
  EXPECT_THAT(output, HasSubstr("|hello|"));
  ASSERT_EQ(guest.Ask("remap 0x100000 0x7f0000000000 changed", kPatience).value(), "ok");
  ASSERT_EQ(Ctl({"dma-test", kDevice, "7", kGva, "--size", "5"}, &output), 0) << output;
  EXPECT_THAT(output, HasSubstr("|hello|"));
  ASSERT_EQ(Ctl({"invalidate", kDevice, "7"}, &output), 0);
  EXPECT_EQ(output, "PASID 7 of 0000:01:00.0: dropped\n");
  ASSERT_EQ(Ctl({"dma-test", kDevice, "7", kGva, "--size", "7"}, &output), 0) << output;
  EXPECT_THAT(output, HasSubstr("|changed|"));
  ASSERT_EQ(Ctl({"dump"}, &output), 0);
  EXPECT_THAT(output, HasSubstr("PASID 7 walks root 0x100000"));

  ASSERT_EQ(Ctl({"unbind", "vm", kDevice, "7"}, &output), 0) << output;
  EXPECT_EQ(Ctl({"dma-test", kDevice, "7", kGva}, &output), 1);
  EXPECT_THAT(output, StartsWith("fault "));
  ASSERT_EQ(Ctl({"unbind", "vm"}, &output), 0) << output;
  ASSERT_EQ(Ctl({"dump"}, &output), 0);
  EXPECT_THAT(output, HasSubstr("0 virtual machines"));

  agent_.Signal(SIGTERM);
  EXPECT_EQ(agent_.Wait(kPatience).value_or(-1), 0);
}

}  // namespace
}  // namespace nestor::testing
