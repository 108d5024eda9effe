#include "agent/kernel/sim_hotplug.h"

#include <cerrno>

#include "absl/time/clock.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/kernel/test_container.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsSupersetOf;
using ::testing::Not;

constexpr char kDevices[] = "/sys/bus/pci/devices";
constexpr char kFirst[] = "/sys/bus/pci/devices/0000:01:00.0";
constexpr char kRescan[] = "/sys/bus/pci/rescan";

// 0000:01:00.0 with two virtual functions, each in a group of its own.
SimMachine MachineWithVirtualFunctions() {
  SimMachine machine = DefaultSimMachine(3);
  machine.devices[0].driver = "idxd";
  for (int i = 1; i <= 2; ++i) {
    machine.devices[i].bdf = "0000:01:00." + std::to_string(i);
    machine.devices[i].physical_function = "0000:01:00.0";
  }
  return machine;
}

class SimHotplugTest : public ::testing::Test {
 protected:
  explicit SimHotplugTest(const SimMachine& machine = DefaultSimMachine(2)) : kernel_(machine) {}

  int Write(const std::string& path, const std::string& content) {
    return process_->WriteFile(path, content);
  }
  std::vector<std::string> List(const std::string& path) {
    std::vector<std::string> names;
    EXPECT_EQ(process_->Readdir(path, &names), 0) << path;
    return names;
  }
  std::string Link(const std::string& path) {
    std::string target;
    return process_->Readlink(path, &target) == 0 ? target : "";
  }
  std::string Read(const std::string& path) {
    std::string content;
    EXPECT_EQ(process_->ReadFile(path, &content), 0) << path;
    return content;
  }

  SimKernel kernel_;
  std::unique_ptr<SimProcess> process_ = kernel_.CreateProcess();
};

TEST_F(SimHotplugTest, RemovedDeviceIsGoneUntilARescan) {
  EXPECT_EQ(Write(std::string(kFirst) + "/remove", "1"), 0);
  EXPECT_THAT(List(kDevices), ElementsAre("0000:02:00.0"));
  EXPECT_THAT(List("/dev/vfio"), ElementsAre("2", "vfio"));
  EXPECT_EQ(Write("/sys/bus/pci/drivers_probe", "0000:01:00.0"), -ENODEV);
  EXPECT_EQ(Write(kRescan, "1"), 0);
  EXPECT_THAT(List(kDevices), ElementsAre("0000:01:00.0", "0000:02:00.0"));
  EXPECT_EQ(Link(std::string(kFirst) + "/driver"), "../../../bus/pci/drivers/vfio-pci");
}

TEST_F(SimHotplugTest, DeviceThatComesBackHasForgottenItsOverride) {
  const std::string device = kFirst;
  EXPECT_EQ(Write(device + "/driver_override", "vfio-pci"), 0);
  EXPECT_EQ(Write(device + "/remove", "1"), 0);
  EXPECT_EQ(Write(kRescan, "1"), 0);
  EXPECT_EQ(Read(device + "/driver_override"), "(null)\n");
}

TEST_F(SimHotplugTest, OpenDeviceLosesItsDriverAtOnceAndLeavesWithItsUser) {
  {
    TestContainer container = TestContainer::Nesting(*process_);
    const int fd = container.OpenDevice();
    EXPECT_EQ(Write(std::string(kFirst) + "/remove", "1"), 0);
    EXPECT_EQ(Link(std::string(kFirst) + "/driver"), "");
    EXPECT_THAT(List(kDevices), Contains("0000:01:00.0"));
    EXPECT_EQ(container.OpenDevice("0000:01:00.0"), -ENODEV);
    EXPECT_EQ(process_->Close(fd), 0);
  }
  EXPECT_THAT(List(kDevices), Not(Contains("0000:01:00.0")));
}

TEST_F(SimHotplugTest, ChangesAreTold) {
  const auto events = kernel_.WatchDevices();
  const absl::Time start = absl::Now();
  EXPECT_EQ(Write(std::string(kFirst) + "/remove", "1"), 0);
  events->Wait(absl::Minutes(10));
  events->Interrupt();
  events->Wait(absl::Minutes(10));
  EXPECT_LT(absl::Now() - start, absl::Minutes(1));
  events->Wait(absl::Milliseconds(1));  // nothing more to tell
}

TEST_F(SimHotplugTest, DeviceWithoutResetHasNoAttributeForIt) {
  SimMachine machine = DefaultSimMachine(1);
  machine.devices[0].has_reset = false;
  SimKernel kernel(machine);
  const auto process = kernel.CreateProcess();
  EXPECT_EQ(process->WriteFile(std::string(kFirst) + "/reset", "1"), -ENOENT);
  EXPECT_EQ(Read(std::string(kFirst) + "/reset_method"), "flr\n");
}

class SimVirtualFunctionTest : public SimHotplugTest {
 protected:
  SimVirtualFunctionTest() : SimHotplugTest(MachineWithVirtualFunctions()) {}
  const std::string numvfs_ = std::string(kFirst) + "/sriov_numvfs";
};

TEST_F(SimVirtualFunctionTest, ComeAndGoWithTheirNumber) {
  EXPECT_THAT(List(kDevices), ElementsAre("0000:01:00.0"));
  EXPECT_EQ(Read(std::string(kFirst) + "/sriov_totalvfs"), "2\n");
  EXPECT_EQ(Write(numvfs_, "2"), 0);
  EXPECT_EQ(Read(numvfs_), "2\n");
  EXPECT_THAT(List(kFirst), IsSupersetOf({"virtfn0", "virtfn1"}));
  EXPECT_EQ(Link("/sys/bus/pci/devices/0000:01:00.2/physfn"), "../0000:01:00.0");
  EXPECT_THAT(List("/dev/vfio"), ElementsAre("2", "3", "vfio"));
  EXPECT_EQ(Write(numvfs_, "0"), 0);
  EXPECT_THAT(List(kDevices), ElementsAre("0000:01:00.0"));
}

TEST_F(SimVirtualFunctionTest, NumberIsCheckedAsTheKernelDoes) {
  EXPECT_EQ(Write(numvfs_, "3"), -ERANGE);
  EXPECT_EQ(Write(numvfs_, "many"), -EINVAL);
  EXPECT_EQ(Write(numvfs_, "1"), 0);
  EXPECT_EQ(Write(numvfs_, "1"), 0);
  EXPECT_EQ(Write(numvfs_, "2"), -EBUSY);
  EXPECT_EQ(Write(numvfs_, "0"), 0);
  EXPECT_EQ(Write("/sys/bus/pci/drivers/idxd/unbind", "0000:01:00.0"), 0);
  EXPECT_EQ(Write(numvfs_, "1"), -ENOENT);
}

}  // namespace
}  // namespace nestor::kernel
