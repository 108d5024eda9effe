// Groups, containers, device descriptors, and how long each lives.

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "agent/kernel/sim_kernel.h"
#include "agent/kernel/test_container.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

constexpr uint32_t kType1v2 = uapi::VFIO_TYPE1v2_IOMMU;
constexpr uint32_t kNesting = uapi::VFIO_TYPE1_NESTING_IOMMU;
constexpr uint32_t kViable = uapi::VFIO_GROUP_FLAGS_VIABLE;
constexpr uint32_t kContainerSet = uapi::VFIO_GROUP_FLAGS_CONTAINER_SET;

class SimVfioTest : public ::testing::Test {
 protected:
  explicit SimVfioTest(const SimMachine& machine = DefaultSimMachine(2)) : kernel_(machine) {}

  int GroupFlags(int fd) {
    uapi::vfio_group_status status = {.argsz = sizeof(status), .flags = 0};
    const int result = process_->IoctlPointer(fd, uapi::VFIO_GROUP_GET_STATUS, &status);
    return result < 0 ? result : static_cast<int>(status.flags);
  }
  int Unset(const TestContainer& container) {
    return process_->Ioctl(container.group(), uapi::VFIO_GROUP_UNSET_CONTAINER, 0);
  }
  int OpenGroup(int number) {
    return process_->Open("/dev/vfio/" + std::to_string(number), O_RDWR);
  }

  SimKernel kernel_;
  std::unique_ptr<SimProcess> process_ = kernel_.CreateProcess();
};

TEST_F(SimVfioTest, GroupIsOpenedByOneAtATime) {
  const int fd = OpenGroup(1);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(OpenGroup(1), -EBUSY);
  EXPECT_EQ(process_->Close(fd), 0);
  EXPECT_GE(OpenGroup(1), 0);
  EXPECT_EQ(OpenGroup(9), -ENOENT);
}

TEST_F(SimVfioTest, GroupIsBusyWhileADeviceOfAnEarlierOpeningIsOpen) {
  TestContainer container = TestContainer::Nesting(*process_);
  ASSERT_GE(container.OpenDevice(), 0);
  container.CloseGroup();
  EXPECT_EQ(OpenGroup(1), -EBUSY);
  container.CloseDevice();
  EXPECT_GE(OpenGroup(1), 0);
}

TEST_F(SimVfioTest, GroupStatusTellsOfViabilityAndContainer) {
  TestContainer container(*process_, 1);
  EXPECT_EQ(GroupFlags(container.group()), static_cast<int>(kViable | kContainerSet));
  EXPECT_EQ(Unset(container), 0);
  EXPECT_EQ(GroupFlags(container.group()), static_cast<int>(kViable));
}

TEST_F(SimVfioTest, GroupStatusChecksItsArgument) {
  TestContainer container(*process_, 1);
  uapi::vfio_group_status status = {.argsz = 7, .flags = 0};
  EXPECT_EQ(process_->IoctlPointer(container.group(), uapi::VFIO_GROUP_GET_STATUS, &status),
            -EINVAL);
  EXPECT_EQ(process_->Ioctl(container.group(), uapi::VFIO_GROUP_GET_STATUS, 8), -EFAULT);
}

TEST_F(SimVfioTest, SetContainerChecksItsArgument) {
  TestContainer container(*process_, 1);
  const auto set = [&](int group, int fd) {
    return process_->IoctlPointer(group, uapi::VFIO_GROUP_SET_CONTAINER, &fd);
  };
  const int other_group = OpenGroup(2);
  EXPECT_EQ(set(container.group(), container.container()), -EINVAL);  // in one already
  EXPECT_EQ(set(other_group, -1), -EINVAL);
  EXPECT_EQ(set(other_group, other_group), -EINVAL);  // no container
  EXPECT_EQ(set(other_group, SimProcess::kFirstDescriptor + 99), -EBADF);
  EXPECT_EQ(process_->Ioctl(other_group, uapi::VFIO_GROUP_SET_CONTAINER, 8), -EFAULT);
}

TEST_F(SimVfioTest, UnsetContainerNeedsOneAndNoOpenDevice) {
  TestContainer container(*process_, 1);
  EXPECT_EQ(container.SetIommu(kType1v2), 0);
  ASSERT_GE(container.OpenDevice(), 0);
  EXPECT_EQ(Unset(container), -EBUSY);
  container.CloseDevice();
  EXPECT_EQ(Unset(container), 0);
  EXPECT_EQ(Unset(container), -EINVAL);
}

TEST_F(SimVfioTest, UnknownRequestsAreNotTypewriters) {
  TestContainer container = TestContainer::Nesting(*process_);
  container.OpenDevice();
  for (const int fd : {container.container(), container.group(), container.device()}) {
    EXPECT_EQ(process_->Ioctl(fd, 0x3bff, 0), -ENOTTY);
  }
}

TEST_F(SimVfioTest, SetIommuNeedsAGroupAndIsDoneOnce) {
  const int empty = process_->Open("/dev/vfio/vfio", O_RDWR);
  EXPECT_EQ(process_->Ioctl(empty, uapi::VFIO_SET_IOMMU, kNesting), -EINVAL);
  TestContainer container(*process_, 1);
  EXPECT_EQ(container.SetIommu(2), -ENODEV);  // a type of another architecture
  EXPECT_EQ(container.SetIommu(kNesting), 0);
  EXPECT_EQ(container.SetIommu(kNesting), -EINVAL);
}

TEST_F(SimVfioTest, NestingContainerTakesNoSecondGroup) {
  TestContainer container = TestContainer::Nesting(*process_);
  int fd = container.container();
  const int second = OpenGroup(2);
  EXPECT_EQ(process_->IoctlPointer(second, uapi::VFIO_GROUP_SET_CONTAINER, &fd), -EINVAL);
}

TEST_F(SimVfioTest, NestingCannotBeSetWithTwoGroupsWaiting) {
  TestContainer container(*process_, 1);
  int fd = container.container();
  const int second = OpenGroup(2);
  ASSERT_EQ(process_->IoctlPointer(second, uapi::VFIO_GROUP_SET_CONTAINER, &fd), 0);
  EXPECT_EQ(container.SetIommu(kNesting), -EINVAL);
  EXPECT_EQ(container.SetIommu(kType1v2), 0);
}

TEST_F(SimVfioTest, OtherContainersTakeManyGroups) {
  TestContainer container(*process_, 1);
  ASSERT_EQ(container.SetIommu(kType1v2), 0);
  int fd = container.container();
  const int second = OpenGroup(2);
  EXPECT_EQ(process_->IoctlPointer(second, uapi::VFIO_GROUP_SET_CONTAINER, &fd), 0);
}

TEST_F(SimVfioTest, DeviceIsOpenedOnlyAfterTheIommuIsSet) {
  TestContainer container(*process_, 1);
  EXPECT_EQ(container.OpenDevice(), -EINVAL);
  ASSERT_EQ(container.SetIommu(kNesting), 0);
  EXPECT_EQ(container.OpenDevice("0000:02:00.0"), -ENODEV);
  EXPECT_EQ(process_->Ioctl(container.group(), uapi::VFIO_GROUP_GET_DEVICE_FD, 8), -EFAULT);
  EXPECT_GE(container.OpenDevice(), 0);
}

TEST_F(SimVfioTest, DeviceInfoIsAPciDevices) {
  TestContainer container = TestContainer::Nesting(*process_);
  const int device = container.OpenDevice();
  uapi::vfio_device_info info = {
      .argsz = sizeof(info), .flags = 0, .num_regions = 0, .num_irqs = 0};
  ASSERT_EQ(process_->IoctlPointer(device, uapi::VFIO_DEVICE_GET_INFO, &info), 0);
  EXPECT_EQ(info.flags, uapi::VFIO_DEVICE_FLAGS_PCI | uapi::VFIO_DEVICE_FLAGS_RESET);
  EXPECT_EQ(info.num_regions, 9U);
  EXPECT_EQ(info.num_irqs, 5U);
  info.argsz = 15;
  EXPECT_EQ(process_->IoctlPointer(device, uapi::VFIO_DEVICE_GET_INFO, &info), -EINVAL);
}

TEST_F(SimVfioTest, OnlyBar0AndConfigurationSpaceAreNotEmpty) {
  TestContainer container = TestContainer::Nesting(*process_);
  const int device = container.OpenDevice();
  for (uint32_t index = 0; index <= uapi::VFIO_PCI_NUM_REGIONS; ++index) {
    uapi::vfio_region_info info = {};
    info.argsz = sizeof(info);
    info.index = index;
    const int result = process_->IoctlPointer(device, uapi::VFIO_DEVICE_GET_REGION_INFO, &info);
    EXPECT_EQ(result, index < uapi::VFIO_PCI_VGA_REGION_INDEX ? 0 : -EINVAL) << index;
    if (result != 0) continue;
    EXPECT_EQ(info.offset, uint64_t{index} << 40);
    EXPECT_EQ(info.size, index == 0 ? 65536U : index == 7 ? 4096U : 0U) << index;
    EXPECT_EQ(info.flags != 0, info.size != 0) << index;
  }
}

TEST_F(SimVfioTest, InterruptsAreTheDriversOwn) {
  TestContainer container = TestContainer::Nesting(*process_);
  const int device = container.OpenDevice();
  for (uint32_t index = 0; index <= uapi::VFIO_PCI_NUM_IRQS; ++index) {
    uapi::vfio_irq_info info = {.argsz = sizeof(info), .flags = 0, .index = index, .count = 9};
    const int result = process_->IoctlPointer(device, uapi::VFIO_DEVICE_GET_IRQ_INFO, &info);
    EXPECT_EQ(result, index < uapi::VFIO_PCI_NUM_IRQS ? 0 : -EINVAL) << index;
    if (result != 0) continue;
    EXPECT_EQ(info.count, index < uapi::VFIO_PCI_ERR_IRQ_INDEX ? 0U : 1U);
  }
}

TEST_F(SimVfioTest, RegionsEndWhereTheySay) {
  TestContainer container = TestContainer::Nesting(*process_);
  const int device = container.OpenDevice();
  constexpr uint64_t kConfig = uint64_t{7} << 40;
  uint8_t bytes[16];
  EXPECT_EQ(process_->Pread(device, bytes, 16, 65536 - 4), 4);
  EXPECT_EQ(process_->Pread(device, bytes, 16, 65536), -EINVAL);
  EXPECT_EQ(process_->Pwrite(device, bytes, 16, kConfig + 4096 - 2), 2);
  EXPECT_EQ(process_->Pwrite(device, bytes, 16, uint64_t{1} << 40), -EINVAL);
  EXPECT_EQ(process_->Pread(device, nullptr, 16, 0), -EFAULT);
  EXPECT_EQ(process_->Pwrite(device, nullptr, 16, 0), -EFAULT);
  EXPECT_EQ(process_->Mmap(4096, PROT_READ, MAP_SHARED, device, 0), -ENODEV);
}

TEST_F(SimVfioTest, ConfigurationSpaceTakesCommandAndBarAddress) {
  TestContainer container = TestContainer::Nesting(*process_);
  const int device = container.OpenDevice();
  constexpr uint64_t kConfig = uint64_t{7} << 40;
  const uint32_t ones = ~0u;
  EXPECT_EQ(process_->Pwrite(device, &ones, 4, kConfig + 0x00), 4);
  EXPECT_EQ(process_->Pwrite(device, &ones, 4, kConfig + 0x10), 4);
  uint32_t value = 0;
  process_->Pread(device, &value, 4, kConfig + 0x00);
  EXPECT_EQ(value, 0x6e731234U);
  process_->Pread(device, &value, 4, kConfig + 0x10);
  EXPECT_EQ(value, 0xffff0000U);  // 64 KiB
  EXPECT_EQ(process_->Ioctl(device, uapi::VFIO_DEVICE_RESET, 0), 0);
  process_->Pread(device, &value, 4, kConfig + 0x10);
  EXPECT_EQ(value, 0xe0000000U);
}

// Lifetimes: what ends when.

class SimVfioLifetimeTest : public SimVfioTest {
 protected:
  // A container with RAM, PASID 5 and a binding of it.
  TestContainer MakeBound(int group = 1) {
    TestContainer container = TestContainer::Nesting(*process_, group);
    EXPECT_EQ(container.Map(ram_), 0);
    EXPECT_EQ(container.Allocate(5), 5);
    EXPECT_EQ(container.Bind(TestBind()), 0);
    return container;
  }
  SimStatistics Held() const { return kernel_.Statistics(); }

  const TestRam ram_{0x12300000};
};

TEST_F(SimVfioLifetimeTest, ClosedContainerLivesOnInItsGroup) {
  TestContainer container = MakeBound();
  container.CloseContainer();
  EXPECT_EQ(Held().containers, 1);
  EXPECT_EQ(Held().bindings, 1);
  container.CloseGroup();
  EXPECT_EQ(Held(), SimStatistics());
}

TEST_F(SimVfioLifetimeTest, OpenDevicePinsBindingsAfterGroupAndContainerAreClosed) {
  TestContainer container = MakeBound();
  ASSERT_GE(container.OpenDevice(), 0);
  container.CloseContainer();
  container.CloseGroup();
  EXPECT_EQ(Held().bindings, 1);
  EXPECT_EQ(Held().mappings, 1);
  container.CloseDevice();
  EXPECT_EQ(Held(), SimStatistics());
}

TEST_F(SimVfioLifetimeTest, DetachUnbindsUnmapsAndFreesButLeavesTheContainerUsable) {
  TestContainer container = MakeBound();
  EXPECT_EQ(Unset(container), 0);
  EXPECT_EQ(Held().bindings, 0);
  EXPECT_EQ(Held().mappings, 0);
  EXPECT_EQ(Held().pasids, 0);
  EXPECT_EQ(Held().pasid_sets, 0);
  int fd = container.container();
  EXPECT_EQ(process_->IoctlPointer(container.group(), uapi::VFIO_GROUP_SET_CONTAINER, &fd), 0);
  EXPECT_EQ(container.SetIommu(kType1v2), 0);
}

TEST_F(SimVfioLifetimeTest, DetachOfOneOfTwoContainersKeepsThePasids) {
  TestContainer kept = TestContainer::Nesting(*process_, 2);
  {
    const TestContainer gone = MakeBound(1);
    EXPECT_EQ(Held().bindings, 1);
  }
  EXPECT_EQ(Held().bindings, 0);
  EXPECT_EQ(Held().pasids, 1);  // allocated through the one that went
  EXPECT_EQ(kept.Map(ram_), 0);
  EXPECT_EQ(kept.Bind(TestBind()), 0);
}

TEST_F(SimVfioLifetimeTest, EndOfTheProcessTearsEverythingDown) {
  TestContainer container = MakeBound();
  ASSERT_GE(container.OpenDevice(), 0);
  container.Forget();
  process_ = kernel_.CreateProcess();  // and the first one ends
  EXPECT_EQ(Held(), SimStatistics());
  const TestContainer again = MakeBound();
  EXPECT_EQ(Held().bindings, 1);
}

TEST_F(SimVfioLifetimeTest, InheritedDescriptorsKeepEverythingAlive) {
  const auto child = kernel_.CreateProcess();
  TestContainer container = MakeBound();
  const int inherited = process_->PassDescriptor(container.group(), *child);
  container.CloseContainer();
  container.CloseGroup();
  EXPECT_EQ(Held().bindings, 1);
  EXPECT_EQ(child->Close(inherited), 0);
  EXPECT_EQ(Held(), SimStatistics());
}

TEST_F(SimVfioTest, HostDescriptorsGoToTheHost) {
  const int memfd = memfd_create("test", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(memfd, 4096), 0);
  EXPECT_EQ(process_->Pwrite(memfd, "abc", 3, 0), 3);
  const int64_t address = process_->Mmap(4096, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
  ASSERT_GT(address, 0);
  EXPECT_STREQ(reinterpret_cast<const char*>(address), "abc");
  TestContainer container = TestContainer::Nesting(*process_);
  EXPECT_EQ(container.Map(0x1000, 4096, static_cast<uint64_t>(address)), 0);
  EXPECT_EQ(process_->Munmap(static_cast<uint64_t>(address), 4096), 0);
  EXPECT_EQ(process_->Close(memfd), 0);
}

TEST_F(SimVfioTest, UnknownDescriptorsAreBad) {
  constexpr int kFd = SimProcess::kFirstDescriptor + 5;
  char byte = 0;
  EXPECT_EQ(process_->Close(kFd), -EBADF);
  EXPECT_EQ(process_->Ioctl(kFd, uapi::VFIO_GET_API_VERSION, 0), -EBADF);
  EXPECT_EQ(process_->Pread(kFd, &byte, 1, 0), -EBADF);
  EXPECT_EQ(process_->Pwrite(kFd, &byte, 1, 0), -EBADF);
  EXPECT_EQ(process_->Mmap(4096, PROT_READ, MAP_SHARED, kFd, 0), -EBADF);
  EXPECT_EQ(process_->PassDescriptor(kFd, *kernel_.CreateProcess()), -EBADF);
}

// Two devices in one group.
SimMachine SharedGroup(const std::string& neighbour_driver) {
  SimMachine machine = DefaultSimMachine(2);
  machine.devices[1].iommu_group = 1;
  machine.devices[1].driver = neighbour_driver;
  return machine;
}

class SimVfioViabilityTest : public SimVfioTest,
                             public ::testing::WithParamInterface<std::pair<const char*, bool>> {
 protected:
  SimVfioViabilityTest() : SimVfioTest(SharedGroup(GetParam().first)) {}
};

TEST_P(SimVfioViabilityTest, GroupIsViableWhenNoDriverOfTheHostHasAMember) {
  TestContainer container(*process_, 1);
  EXPECT_EQ(container.SetIommu(kType1v2), 0);
  EXPECT_EQ(container.OpenDevice() >= 0, GetParam().second);
  container.CloseDevice();
  EXPECT_EQ(Unset(container), 0);
  EXPECT_EQ(GroupFlags(container.group()), GetParam().second ? static_cast<int>(kViable) : 0);
}

INSTANTIATE_TEST_SUITE_P(Drivers, SimVfioViabilityTest,
                         ::testing::Values(std::pair("vfio-pci", true), std::pair("", true),
                                           std::pair("pci-stub", true), std::pair("pcieport", true),
                                           std::pair("nvme", false)));

}  // namespace
}  // namespace nestor::kernel
