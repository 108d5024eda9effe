// The program itself, and a program in C that uses it.
#include <signal.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/simkernel/simkernel_process.h"

namespace nestor::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr absl::Duration kPatience = absl::Seconds(30);

struct Ended {
  int code = -1;
  std::string output;
};

class NestorSimkernelTest : public ::testing::Test {
 protected:
  Ended Run(const std::string& program, const std::vector<std::string>& arguments) {
    Process process(program, arguments, directory_.path() + "/stderr");
    Ended ended;
    ended.output = process.ReadAll();
    ended.code = process.Wait(kPatience).value_or(-1);
    return ended;
  }

  TemporaryDirectory directory_;
};

TEST_F(NestorSimkernelTest, ProgramInCDoesDma) {
  const SimkernelProcess simkernel;
  const Ended example = Run("nestorsim-example", {simkernel.socket()});
  EXPECT_EQ(example.code, 0);
  EXPECT_EQ(example.output, "read by the device\n");
  EXPECT_EQ(simkernel.Count("descriptors"), 0);
  EXPECT_EQ(simkernel.Count("dmas"), 1);
}

TEST_F(NestorSimkernelTest, StatusIsOneLineOfJson) {
  const SimkernelProcess simkernel;
  const Ended status = Run("nestor-simkernel", {"--status", "unix:" + simkernel.socket()});
  EXPECT_EQ(status.code, 0);
  EXPECT_EQ(status.output,
            "{\"descriptors\": 0, \"containers\": 0, \"groups\": 0, \"pasid_sets\": 0, "
            "\"pasids\": 0, \"bindings\": 0, \"mappings\": 0, \"iotlb_entries\": 0, "
            "\"iommufds\": 0, \"bound_devices\": 0, \"ioases\": 0, \"hwpts\": 0, \"viommus\": 0, "
            "\"attachments\": 0, \"dmas\": 0, "
            "\"faults\": 0}\n");
}

TEST_F(NestorSimkernelTest, StatusOfNobodyFails) {
  EXPECT_EQ(Run("nestor-simkernel", {"--status", directory_.path() + "/none.sock"}).code, 1);
}

TEST_F(NestorSimkernelTest, SigtermEndsItAndRemovesTheSocket) {
  SimkernelProcess simkernel;
  const auto client = simkernel.Connect();
  ASSERT_TRUE(std::filesystem::exists(simkernel.socket()));
  simkernel.process().Signal(SIGTERM);
  EXPECT_EQ(simkernel.process().Wait(kPatience).value_or(-1), 0);
  EXPECT_FALSE(std::filesystem::exists(simkernel.socket()));
  EXPECT_EQ(client->Open("/dev/vfio/vfio", 0), -EIO);
}

TEST_F(NestorSimkernelTest, SocketOfARunningOneIsRefused) {
  const SimkernelProcess simkernel;
  EXPECT_EQ(Run("nestor-simkernel", {"--listen", simkernel.socket()}).code, 1);
  EXPECT_EQ(simkernel.Count("containers"), 0);
}

TEST_F(NestorSimkernelTest, SocketOfADeadOneIsTakenOver) {
  const std::string socket = directory_.path() + "/sim.sock";
  {
    Process first("nestor-simkernel", {"--listen", socket}, directory_.path() + "/stderr");
    ASSERT_TRUE(first.ReadLine(kPatience).ok());
    first.Kill();
  }
  ASSERT_TRUE(std::filesystem::exists(socket));
  Process second("nestor-simkernel", {"--listen", socket}, directory_.path() + "/stderr");
  EXPECT_TRUE(second.ReadLine(kPatience).ok());
  EXPECT_TRUE(kernel::RemoteSyscalls::Connect(socket).ok());
}

TEST_F(NestorSimkernelTest, WrongUsageIsTwoAndHelpIsZero) {
  EXPECT_EQ(Run("nestor-simkernel", {}).code, 2);
  EXPECT_EQ(Run("nestor-simkernel", {"--listen", "x", "--devices", "65"}).code, 2);
  EXPECT_EQ(Run("nestor-simkernel", {"--listen", "x", "--personality", "2.4"}).code, 2);
  const Ended help = Run("nestor-simkernel", {"--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.output, StartsWith("nestor-simkernel: "));
  EXPECT_THAT(help.output, HasSubstr("Exit codes:"));
}

TEST_F(NestorSimkernelTest, OptionsDescribeTheMachine) {
  const std::string socket = directory_.path() + "/sim.sock";
  Process simkernel("nestor-simkernel",
                    {"--listen", socket, "--devices", "3", "--personality", "7.2"},
                    directory_.path() + "/stderr");
  ASSERT_TRUE(simkernel.ReadLine(kPatience).ok());
  const auto client = *kernel::RemoteSyscalls::Connect(socket);
  std::vector<std::string> devices;
  EXPECT_EQ(client->Readdir("/sys/bus/pci/devices", &devices), 0);
  EXPECT_EQ(devices.size(), 3U);
  constexpr unsigned long kCheckExtension = 0x3b65;  // NOLINT: VFIO_CHECK_EXTENSION
  constexpr int kNesting = 6;
  const int container = client->Open("/dev/vfio/vfio", 0);
  EXPECT_EQ(client->Ioctl(container, kCheckExtension, kNesting), 0);
  client->Close(container);
}

}  // namespace
}  // namespace nestor::testing
