// Device files, /dev/iommu, and how long each lives; requests without a PASID.

#include <cerrno>
#include <string>

#include "agent/kernel/test_iommufd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

using ::testing::ElementsAre;
using ::testing::Ge;

constexpr uint64_t kRam = 0x100000;

class SimVfioCdevTest : public ::testing::Test {
 protected:
  explicit SimVfioCdevTest(const SimMachine& machine = IommufdMachine()) : kernel_(machine) {}

  int OpenGroup(int number) {
    return process_->Open("/dev/vfio/" + std::to_string(number), O_RDWR);
  }

  const TestRam ram_{kRam};
  SimKernel kernel_;
  std::unique_ptr<SimProcess> process_ = kernel_.CreateProcess();
  TestIommufd iommufd_{*process_};
};

TEST_F(SimVfioCdevTest, SysfsLeadsFromADeviceToItsFile) {
  std::vector<std::string> names;
  ASSERT_EQ(process_->Readdir("/sys/bus/pci/devices/0000:02:00.0/vfio-dev", &names), 0);
  EXPECT_THAT(names, ElementsAre("vfio1"));
  std::string number;
  ASSERT_EQ(process_->ReadFile("/sys/class/vfio-dev/vfio1/dev", &number), 0);
  EXPECT_EQ(number, "511:1\n");
  EXPECT_GE(process_->Open("/dev/vfio/devices/vfio1", O_RDWR), 0);
}

TEST_F(SimVfioCdevTest, DeviceOfAnotherDriverHasNoFile) {
  ASSERT_EQ(process_->WriteFile("/sys/bus/pci/drivers/vfio-pci/unbind", "0000:02:00.0"), 0);
  std::vector<std::string> names;
  EXPECT_EQ(process_->Readdir("/sys/bus/pci/devices/0000:02:00.0/vfio-dev", &names), -ENOENT);
  EXPECT_EQ(process_->Open("/dev/vfio/devices/vfio1", O_RDWR), -ENOENT);
}

TEST_F(SimVfioCdevTest, EveryCallButTheBindWaitsForIt) {
  TestCdev cdev(*process_);
  uapi::vfio_device_info info = {};
  info.argsz = sizeof(info);
  EXPECT_EQ(process_->IoctlPointer(cdev.fd(), uapi::VFIO_DEVICE_GET_INFO, &info), -EINVAL);
  EXPECT_EQ(cdev.Attach(1), -EINVAL);
  EXPECT_EQ(process_->Pread(cdev.fd(), &info, 4, 0), -EINVAL);
  ASSERT_EQ(cdev.Bind(iommufd_.fd()), 1);
  EXPECT_EQ(process_->IoctlPointer(cdev.fd(), uapi::VFIO_DEVICE_GET_INFO, &info), 0);
  EXPECT_EQ(process_->Pread(cdev.fd(), &info, 4, 0), 4);
}

TEST_F(SimVfioCdevTest, BindChecksItsArgument) {
  TestCdev cdev(*process_);
  uapi::vfio_device_bind_iommufd bind = {};
  bind.argsz = 15;
  bind.iommufd = iommufd_.fd();
  const auto call = [&] {
    return process_->IoctlPointer(cdev.fd(), uapi::VFIO_DEVICE_BIND_IOMMUFD, &bind);
  };
  EXPECT_EQ(call(), -EINVAL);
  EXPECT_EQ(cdev.Bind(iommufd_.fd(), uapi::VFIO_DEVICE_BIND_FLAG_TOKEN), -EINVAL);
  EXPECT_EQ(cdev.Bind(-1), -EINVAL);
  EXPECT_EQ(cdev.Bind(SimProcess::kFirstDescriptor + 1000), -EBADF);
  EXPECT_EQ(cdev.Bind(cdev.fd()), -EBADFD);
  bind.argsz = uapi::VFIO_DEVICE_BIND_MIN_SIZE;
  EXPECT_EQ(call(), 0);
  EXPECT_EQ(bind.out_devid, 1u);
}

TEST_F(SimVfioCdevTest, LongerBindMustEndInZeros) {
  struct {
    uapi::vfio_device_bind_iommufd bind = {};
    uint64_t tail = 1;
  } longer;
  longer.bind.argsz = sizeof(longer);
  longer.bind.iommufd = iommufd_.fd();
  TestCdev cdev(*process_);
  EXPECT_EQ(process_->IoctlPointer(cdev.fd(), uapi::VFIO_DEVICE_BIND_IOMMUFD, &longer), -E2BIG);
  longer.tail = 0;
  EXPECT_EQ(process_->IoctlPointer(cdev.fd(), uapi::VFIO_DEVICE_BIND_IOMMUFD, &longer), 0);
}

TEST_F(SimVfioCdevTest, DeviceIsBoundOnceByOneOpening) {
  TestCdev cdev(*process_);
  TestCdev again(*process_);
  ASSERT_EQ(cdev.Bind(iommufd_.fd()), 1);
  EXPECT_EQ(cdev.Bind(iommufd_.fd()), -EINVAL);
  EXPECT_EQ(again.Bind(iommufd_.fd()), -EINVAL);
  cdev.Close();
  EXPECT_EQ(again.Bind(iommufd_.fd()), 1);
}

TEST_F(SimVfioCdevTest, GroupAndDeviceFileExcludeOneAnother) {
  TestCdev cdev(*process_);
  const int group = OpenGroup(1);
  ASSERT_GE(group, 0);
  EXPECT_EQ(cdev.Bind(iommufd_.fd()), -EBUSY);
  process_->Close(group);
  ASSERT_EQ(cdev.Bind(iommufd_.fd()), 1);
  EXPECT_EQ(OpenGroup(1), -EBUSY);
  EXPECT_GE(OpenGroup(2), 0);
  cdev.Close();
  EXPECT_GE(OpenGroup(1), 0);
}

TEST_F(SimVfioCdevTest, DeviceThatIsOpenThroughItsGroupIsNotBound) {
  TestContainer container(*process_, 1);
  ASSERT_EQ(container.SetIommu(uapi::VFIO_TYPE1v2_IOMMU), 0);
  const int device = container.OpenDevice();
  ASSERT_GE(device, 0);
  uapi::vfio_device_bind_iommufd bind = {};
  bind.argsz = sizeof(bind);
  bind.iommufd = iommufd_.fd();
  EXPECT_EQ(process_->IoctlPointer(device, uapi::VFIO_DEVICE_BIND_IOMMUFD, &bind), -EINVAL);
  container.CloseGroup();
  TestCdev cdev(*process_);
  EXPECT_EQ(cdev.Bind(iommufd_.fd()), -EINVAL);
  container.CloseDevice();
  EXPECT_EQ(cdev.Bind(iommufd_.fd()), 1);
}

TEST_F(SimVfioCdevTest, LastCloseDetachesAndResets) {
  const int ioas = iommufd_.Ioas();
  ASSERT_EQ(iommufd_.Map(ioas, ram_), 0);
  TestCdev cdev(*process_);
  const int device = cdev.Bind(iommufd_.fd());
  ASSERT_THAT(cdev.Attach(ioas), Ge(1));
  TestEngine(*process_, cdev.fd()).Set(kSimRegisterAddress, 7);
  EXPECT_EQ(iommufd_.Destroy(device), -EBUSY);
  EXPECT_EQ(iommufd_.Destroy(ioas), -EBUSY);
  cdev.Close();
  const SimStatistics left = kernel_.Statistics();
  EXPECT_EQ(left.bound_devices + left.attachments + left.hwpts, 0);
  EXPECT_EQ(iommufd_.Destroy(device), -ENOENT);
  TestCdev again(*process_);
  ASSERT_EQ(again.Bind(iommufd_.fd()), device);
  EXPECT_EQ(TestEngine(*process_, again.fd()).Get(kSimRegisterAddress), 0u);
}

TEST_F(SimVfioCdevTest, BoundDeviceKeepsAClosedIommufdTranslating) {
  const int ioas = iommufd_.Ioas();
  ASSERT_EQ(iommufd_.Map(ioas, ram_), 0);
  ram_.Write(kRam, "still there");
  TestCdev cdev(*process_);
  ASSERT_EQ(cdev.Bind(iommufd_.fd()), 2);
  ASSERT_THAT(cdev.Attach(ioas), Ge(1));
  iommufd_.Close();
  EXPECT_EQ(TestEngine(*process_, cdev.fd()).Read({}, kRam, 11), "still there");
  EXPECT_EQ(kernel_.Statistics().iommufds, 1);
  cdev.Close();
  const SimStatistics left = kernel_.Statistics();
  EXPECT_EQ(left.iommufds + left.ioases + left.hwpts + left.mappings + left.iotlb_entries, 0);
}

TEST_F(SimVfioCdevTest, DeviceWithoutAttachmentTranslatesNothing) {
  TestCdev cdev(*process_);
  const int ioas = iommufd_.Ioas();
  ASSERT_EQ(iommufd_.Map(ioas, ram_), 0);
  ASSERT_THAT(cdev.Bind(iommufd_.fd()), Ge(1));
  TestEngine engine(*process_, cdev.fd());
  EXPECT_FALSE(engine.Write({}, kRam, "x"));
  ASSERT_THAT(cdev.Attach(ioas), Ge(1));
  EXPECT_TRUE(engine.Write({}, kRam, "x"));
  ASSERT_EQ(cdev.Detach(), 0);
  EXPECT_FALSE(engine.Write({}, kRam, "x"));
  EXPECT_EQ(engine.reason(), uapi::IOMMU_FAULT_REASON_BAD_PASID_ENTRY);
}

TEST_F(SimVfioCdevTest, DetachProvesNothing) {
  TestCdev cdev(*process_);
  ASSERT_THAT(cdev.Bind(iommufd_.fd()), Ge(1));
  EXPECT_EQ(cdev.Detach(), 0);
  EXPECT_EQ(cdev.DetachPasid(5), 0);
}

TEST_F(SimVfioCdevTest, AttachOfAnAttachedDeviceReplacesSilently) {
  TestCdev cdev(*process_);
  ASSERT_THAT(cdev.Bind(iommufd_.fd()), Ge(1));
  const int first = cdev.Attach(iommufd_.Ioas());
  const int ioas = iommufd_.Ioas();
  ASSERT_EQ(iommufd_.Map(ioas, ram_), 0);
  const int second = cdev.Attach(ioas);
  EXPECT_NE(second, first);
  EXPECT_EQ(iommufd_.Destroy(first), -ENOENT);  // it was made for the attachment
  EXPECT_EQ(cdev.Attach(second), second);
  EXPECT_TRUE(TestEngine(*process_, cdev.fd()).Write({}, kRam, "x"));
}

TEST_F(SimVfioCdevTest, AttachNamesWhatThereIsNot) {
  TestCdev cdev(*process_);
  const int device = cdev.Bind(iommufd_.fd());
  EXPECT_EQ(cdev.Attach(0), -ENOENT);
  EXPECT_EQ(cdev.AttachPasid(1, 0), -ENOENT);
  EXPECT_EQ(cdev.Attach(device), -EINVAL);
}

TEST_F(SimVfioCdevTest, UnmapIsSeenByTheDeviceAtOnce) {
  TestCdev cdev(*process_);
  const int ioas = iommufd_.Ioas();
  ASSERT_EQ(iommufd_.Map(ioas, ram_), 0);
  ASSERT_THAT(cdev.Bind(iommufd_.fd()), Ge(1));
  ASSERT_THAT(cdev.Attach(ioas), Ge(1));
  TestEngine engine(*process_, cdev.fd());
  ASSERT_TRUE(engine.Write({}, kRam, "x"));
  ASSERT_GT(iommufd_.Unmap(ioas, kRam, ram_.size()), 0);
  EXPECT_FALSE(engine.Write({}, kRam, "x"));
}

TEST_F(SimVfioCdevTest, DriverIsNotUnboundWhileADeviceFileIsOpen) {
  TestCdev cdev(*process_);
  EXPECT_EQ(process_->WriteFile("/sys/bus/pci/drivers/vfio-pci/unbind", "0000:01:00.0"), -EBUSY);
  cdev.Close();
  EXPECT_EQ(process_->WriteFile("/sys/bus/pci/drivers/vfio-pci/unbind", "0000:01:00.0"), 0);
}

SimMachine OneGroup() {
  SimMachine machine = IommufdMachine();
  machine.devices[1].iommu_group = machine.devices[0].iommu_group;
  return machine;
}

class SimVfioCdevGroupTest : public SimVfioCdevTest {
 protected:
  explicit SimVfioCdevGroupTest(const SimMachine& machine = OneGroup())
      : SimVfioCdevTest(machine) {}
};

TEST_F(SimVfioCdevGroupTest, SiblingsShareAnIommufdAndAnAttachment) {
  TestCdev first(*process_, "vfio0");
  TestCdev second(*process_, "vfio1");
  TestIommufd other(*process_);
  ASSERT_EQ(first.Bind(iommufd_.fd()), 1);
  EXPECT_EQ(second.Bind(other.fd()), -EPERM);
  ASSERT_EQ(second.Bind(iommufd_.fd()), 2);
  const int ioas = iommufd_.Ioas();
  const int hwpt = first.Attach(ioas);
  ASSERT_THAT(hwpt, Ge(1));
  EXPECT_EQ(second.Attach(iommufd_.Ioas()), -EINVAL);
  EXPECT_EQ(second.Attach(ioas), hwpt);
  EXPECT_EQ(kernel_.Statistics().attachments, 2);
}

TEST_F(SimVfioCdevGroupTest, SiblingOfAnotherDriverForbidsTheBind) {
  SimMachine machine = OneGroup();
  machine.devices[1].driver = "e1000e";
  SimKernel kernel(machine);
  const auto process = kernel.CreateProcess();
  TestIommufd iommufd(*process);
  TestCdev cdev(*process);
  EXPECT_EQ(cdev.Bind(iommufd.fd()), -EPERM);
}

TEST(SimVfioCdevMachineTest, InterruptsMustBeIsolated) {
  SimMachine machine = IommufdMachine();
  machine.iommu.interrupt_remapping = false;
  SimKernel kernel(machine);
  const auto process = kernel.CreateProcess();
  TestIommufd iommufd(*process);
  TestCdev cdev(*process);
  EXPECT_EQ(cdev.Bind(iommufd.fd()), -EPERM);
}

TEST(SimVfioCdevMachineTest, KernelOfTheSeriesHasNeitherNodeNorCall) {
  SimKernel kernel(DefaultSimMachine(1));
  const auto process = kernel.CreateProcess();
  EXPECT_EQ(process->Open("/dev/iommu", O_RDWR), -ENOENT);
  EXPECT_EQ(process->Open("/dev/vfio/devices/vfio0", O_RDWR), -ENOENT);
  TestContainer container = TestContainer::Nesting(*process);
  EXPECT_EQ(process->Ioctl(container.OpenDevice(), uapi::VFIO_DEVICE_BIND_IOMMUFD, 0), -ENOTTY);
}

}  // namespace
}  // namespace nestor::kernel
