#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "agent/kernel/sim_kernel.h"
#include "agent/kernel/test_container.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

using ::testing::ElementsAre;
using ::testing::IsSupersetOf;
using ::testing::MatchesRegex;
using ::testing::Ne;

constexpr char kDevice[] = "/sys/bus/pci/devices/0000:01:00.0";

class SimSysfsTest : public ::testing::Test {
 protected:
  std::string Read(const std::string& path) {
    std::string content;
    EXPECT_EQ(process_->ReadFile(path, &content), 0) << path;
    return content;
  }
  std::string Link(const std::string& path) {
    std::string target;
    EXPECT_EQ(process_->Readlink(path, &target), 0) << path;
    return target;
  }
  std::vector<std::string> List(const std::string& path) {
    std::vector<std::string> names;
    EXPECT_EQ(process_->Readdir(path, &names), 0) << path;
    return names;
  }

  SimKernel kernel_{DefaultSimMachine(2)};
  std::unique_ptr<SimProcess> process_ = kernel_.CreateProcess();
};

TEST_F(SimSysfsTest, BusListsDevicesInOrder) {
  EXPECT_THAT(List("/sys/bus/pci/devices"), ElementsAre("0000:01:00.0", "0000:02:00.0"));
}

TEST_F(SimSysfsTest, AttributesHaveTheKernelsForm) {
  const std::string device = kDevice;
  EXPECT_EQ(Read(device + "/vendor"), "0x1234\n");
  EXPECT_EQ(Read(device + "/device"), "0x6e73\n");
  EXPECT_EQ(Read(device + "/class"), "0x088000\n");
  EXPECT_EQ(Read(device + "/numa_node"), "0\n");
  EXPECT_EQ(Read(device + "/driver_override"), "(null)\n");
  EXPECT_EQ(Read("/sys/module/vfio_pasid/parameters/pasid_quota"), "1000\n");
}

TEST_F(SimSysfsTest, LinksAreRelativeAndLeadSomewhere) {
  const std::string device = kDevice;
  EXPECT_EQ(Link(kDevice), "../../../devices/pci0000:00/0000:01:00.0");
  EXPECT_EQ(Link(device + "/driver"), "../../../bus/pci/drivers/vfio-pci");
  EXPECT_EQ(Link(device + "/iommu_group"), "../../../kernel/iommu_groups/1");
  EXPECT_THAT(List(device + "/iommu_group/devices"), ElementsAre("0000:01:00.0"));
  EXPECT_THAT(List(device + "/driver/../vfio-pci"),
              IsSupersetOf({"0000:01:00.0", "0000:02:00.0", "bind", "unbind"}));
  EXPECT_EQ(Link("/sys/class/iommu/dmar0"), "../../devices/virtual/iommu/dmar0");
}

TEST_F(SimSysfsTest, ConfigurationSpaceIsTheDevices) {
  const std::string config = Read(std::string(kDevice) + "/config");
  ASSERT_EQ(config.size(), 4096U);
  EXPECT_EQ(config.substr(0, 4), "\x34\x12\x73\x6e");
  EXPECT_EQ(config.substr(8, 4), std::string("\x01\x00\x80\x08", 4));
  EXPECT_EQ(config[0x100], 0x1b);  // PASID capability
  EXPECT_EQ(config[0x105], 20);    // bits 12:8
}

TEST_F(SimSysfsTest, MissingNamesAndWrongKindsAreErrnos) {
  std::string text;
  std::vector<std::string> names;
  EXPECT_EQ(process_->ReadFile("/sys/bus/pci/devices/0000:99:00.0/vendor", &text), -ENOENT);
  EXPECT_EQ(process_->ReadFile("sys", &text), -ENOENT);
  EXPECT_EQ(process_->ReadFile("/sys", &text), -EISDIR);
  EXPECT_EQ(process_->ReadFile(std::string(kDevice) + "/vendor/deeper", &text), -ENOTDIR);
  EXPECT_EQ(process_->Readdir(std::string(kDevice) + "/vendor", &names), -ENOTDIR);
  EXPECT_EQ(process_->Readlink("/sys", &text), -EINVAL);
  EXPECT_EQ(process_->WriteFile(std::string(kDevice) + "/vendor", "1"), -EACCES);
  EXPECT_EQ(process_->ReadFile("/sys/bus/pci/drivers/vfio-pci/bind", &text), -EACCES);
}

TEST_F(SimSysfsTest, AttributeCanBeReadThroughADescriptor) {
  const int fd = process_->Open(std::string(kDevice) + "/vendor", O_RDONLY);
  ASSERT_GE(fd, SimProcess::kFirstDescriptor);
  char buffer[16] = {};
  EXPECT_EQ(process_->Pread(fd, buffer, sizeof(buffer), 2), 5);
  EXPECT_STREQ(buffer, "1234\n");
  EXPECT_EQ(process_->Close(fd), 0);
}

TEST_F(SimSysfsTest, EachKernelHasABootIdOfItsOwn) {
  const std::string boot_id = Read("/proc/sys/kernel/random/boot_id");
  EXPECT_THAT(boot_id, MatchesRegex("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n"));
  SimKernel other(DefaultSimMachine(1));
  std::string other_id;
  EXPECT_EQ(other.CreateProcess()->ReadFile("/proc/sys/kernel/random/boot_id", &other_id), 0);
  EXPECT_THAT(other_id, Ne(boot_id));
}

TEST_F(SimSysfsTest, DeviceMovesToTheDriverOfItsOverride) {
  const std::string device = kDevice;
  EXPECT_THAT(List("/dev/vfio"), ElementsAre("1", "2", "vfio"));
  EXPECT_EQ(process_->WriteFile(device + "/driver/unbind", "0000:01:00.0"), 0);
  EXPECT_THAT(List("/dev/vfio"), ElementsAre("2", "vfio"));
  std::string target;
  EXPECT_EQ(process_->Readlink(device + "/driver", &target), -ENOENT);

  EXPECT_EQ(process_->WriteFile(device + "/driver_override", "nvme\n"), 0);
  EXPECT_EQ(Read(device + "/driver_override"), "nvme\n");
  EXPECT_EQ(process_->WriteFile("/sys/bus/pci/drivers/vfio-pci/bind", "0000:01:00.0"), -ENODEV);

  EXPECT_EQ(process_->WriteFile(device + "/driver_override", "vfio-pci"), 0);
  EXPECT_EQ(process_->WriteFile("/sys/bus/pci/drivers_probe", "0000:01:00.0"), 0);
  EXPECT_EQ(Link(device + "/driver"), "../../../bus/pci/drivers/vfio-pci");
  EXPECT_EQ(process_->WriteFile("/sys/bus/pci/drivers/vfio-pci/bind", "0000:01:00.0"), -ENODEV);
}

TEST_F(SimSysfsTest, DeviceInUseCannotBeUnbound) {
  TestContainer container(*process_, 1);
  EXPECT_EQ(process_->WriteFile(std::string(kDevice) + "/driver/unbind", "0000:01:00.0"), -EBUSY);
}

TEST_F(SimSysfsTest, ResetReachesTheDevice) {
  TestContainer container = TestContainer::Nesting(*process_);
  TestEngine engine(*process_, container.OpenDevice());
  engine.Set(kSimRegisterLength, 77);
  EXPECT_EQ(process_->WriteFile(std::string(kDevice) + "/reset", "1\n"), 0);
  EXPECT_EQ(engine.Get(kSimRegisterLength), 0U);
  EXPECT_EQ(process_->WriteFile(std::string(kDevice) + "/reset", "0"), -EINVAL);
}

TEST(SimSysfsIommuTest, IommuHasTheNameOfItsKind) {
  for (const auto& [hardware, name] :
       {std::pair(SimIommuHardware::kVtd, "dmar0"), std::pair(SimIommuHardware::kAmd, "ivhd0"),
        std::pair(SimIommuHardware::kSmmuV3, "smmu3.0x0000000009050000")}) {
    SimMachine machine = DefaultSimMachine(1);
    machine.iommu.hardware = hardware;
    SimKernel kernel(machine);
    const auto process = kernel.CreateProcess();
    std::vector<std::string> names;
    ASSERT_EQ(process->Readdir("/sys/class/iommu", &names), 0);
    EXPECT_THAT(names, ElementsAre(name));
    EXPECT_EQ(process->Readdir(std::string("/sys/class/iommu/") + name + "/devices", &names), 0);
    EXPECT_THAT(names, ElementsAre("0000:01:00.0"));
  }
}

}  // namespace
}  // namespace nestor::kernel
