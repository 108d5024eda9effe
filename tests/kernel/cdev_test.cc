// VFIO device files and iommufd on the emulated VT-d, with DMA; and the refusal of nesting by
// an IOMMU that cannot.
#include <fcntl.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/kernel/test_container.h"
#include "agent/kernel/test_page_table.h"
#include "agent/kernel/uapi/iommufd.h"
#include "agent/kernel/uapi/iommufd_hardware.h"
#include "agent/kernel/uapi/vfio_cdev.h"
#include "agent/vfio/vfio_device.h"
#include "agent/vfio/vfio_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernel/edu_device.h"
#include "tests/kernel/guest_machine.h"
#include "tests/kernel/iommufd_calls.h"

namespace nestor::kernel_test {
namespace {

namespace uapi = kernel::uapi;

using ::testing::Gt;
using ::testing::IsEmpty;

constexpr uint64_t kPage = 4096;

// "/dev/vfio/devices/vfio0"; empty: the kernel has no device files.
std::string DeviceNode(const agent::Bdf& bdf) {
  std::vector<std::string> names;
  Linux().Readdir(absl::StrCat("/sys/bus/pci/devices/", bdf, "/vfio-dev"), &names);
  return names.empty() ? "" : absl::StrCat("/dev/vfio/devices/", names[0]);
}

class CdevTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (EduFunctions().empty()) GTEST_SKIP() << "no PCI";
    function_ = LoneEdu();
    if (DeviceNode(function_.bdf).empty()) {
      GTEST_SKIP() << "no VFIO device files (CONFIG_VFIO_DEVICE_CDEV)";
    }
    if (iommufd_.fd() < 0) GTEST_SKIP() << "no /dev/iommu (CONFIG_IOMMUFD)";
    device_ = Linux().Open(DeviceNode(function_.bdf), O_RDWR);
    ASSERT_GE(device_, 0);
  }
  void TearDown() override {
    if (device_ >= 0) Linux().Close(device_);
  }

  int Bind(int iommufd) {
    uapi::vfio_device_bind_iommufd bind = {};
    bind.argsz = sizeof(bind);
    bind.iommufd = iommufd;
    const int result = Linux().IoctlPointer(device_, uapi::VFIO_DEVICE_BIND_IOMMUFD, &bind);
    return result < 0 ? result : static_cast<int>(bind.out_devid);
  }
  int Attach(uint32_t table, uint32_t flags = 0, uint32_t pasid = 0) {
    uapi::vfio_device_attach_iommufd_pt attach = {
        .argsz = sizeof(attach), .flags = flags, .pt_id = table, .pasid = pasid};
    return Linux().IoctlPointer(device_, uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
  }
  int Detach() {
    uapi::vfio_device_detach_iommufd_pt detach = {
        .argsz = uapi::VFIO_DEVICE_DETACH_MIN_SIZE, .flags = 0, .pasid = 0};
    return Linux().IoctlPointer(device_, uapi::VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach);
  }

  agent::PciFunction function_;
  IommufdCalls iommufd_{Linux()};
  int device_ = -1;
};

TEST_F(CdevTest, DeviceIsBoundOnceAndByOneWayOnly) {
  EXPECT_THAT(Bind(iommufd_.fd()), Gt(0));
  EXPECT_EQ(Bind(iommufd_.fd()), -EINVAL);
  EXPECT_EQ(Linux().Open(absl::StrCat("/dev/vfio/", function_.iommu_group), O_RDWR), -EBUSY);
}

TEST_F(CdevTest, GroupInUseKeepsTheDeviceFromBeingBound) {
  const kernel::TestContainer owner(Linux(), function_.iommu_group);
  EXPECT_EQ(Bind(iommufd_.fd()), -EBUSY);
}

TEST_F(CdevTest, DmaReachesWhatTheAttachedSpaceMaps) {
  const kernel::TestRam source(0x100000, kPage);
  const kernel::TestRam target(0x200000, kPage);
  source.Write(0x100000, "through iommufd");
  ASSERT_THAT(Bind(iommufd_.fd()), Gt(0));
  const auto ioas = static_cast<uint32_t>(iommufd_.AllocateIoas());
  ASSERT_EQ(iommufd_.Map(ioas, 0x100000, source.user_address(), kPage), 0);
  ASSERT_EQ(iommufd_.Map(ioas, 0x200000, target.user_address(), kPage), 0);
  ASSERT_EQ(Attach(ioas), 0);
  auto edu = EduDevice::Start(
      agent::VfioDevice(Linux(), agent::VfioFile(Linux(), std::exchange(device_, -1), "edu")));
  ASSERT_TRUE(edu.ok()) << edu.status();
  ASSERT_TRUE(edu->Fetch(0x100000, 15).ok());
  ASSERT_TRUE(edu->Store(0x200000, 15).ok());
  EXPECT_EQ(target.Read(0x200000, 15), "through iommufd");

  target.Write(0x200000, "what was before");
  EXPECT_EQ(iommufd_.Unmap(ioas, 0x200000, kPage), static_cast<int64_t>(kPage));
  ASSERT_TRUE(edu->Store(0x200000, 15).ok());
  EXPECT_EQ(target.Read(0x200000, 15), "what was before");
}

TEST_F(CdevTest, AttachReplacesWithoutAWordAndDetachProvesNothing) {
  ASSERT_THAT(Bind(iommufd_.fd()), Gt(0));
  const auto first = static_cast<uint32_t>(iommufd_.AllocateIoas());
  const auto second = static_cast<uint32_t>(iommufd_.AllocateIoas());
  EXPECT_EQ(Attach(first), 0);
  EXPECT_EQ(Attach(second), 0);
  EXPECT_EQ(iommufd_.Destroy(first), 0);
  EXPECT_EQ(iommufd_.Destroy(second), -EBUSY);
  EXPECT_EQ(Attach(second + 100), -ENOENT);
  EXPECT_EQ(Detach(), 0);
  EXPECT_EQ(Detach(), 0);
}

TEST_F(CdevTest, VtdWithoutNestingSaysSo) {
  const int device = Bind(iommufd_.fd());
  ASSERT_THAT(device, Gt(0));
  const auto ioas = static_cast<uint32_t>(iommufd_.AllocateIoas());
  uapi::iommu_hw_info info = {};
  ASSERT_EQ(iommufd_.GetHardware(static_cast<uint32_t>(device), &info), 0);
  EXPECT_EQ(info.out_data_type, uapi::IOMMU_HW_INFO_TYPE_INTEL_VTD);
  EXPECT_EQ(info.out_max_pasid_log2, 0);
  EXPECT_EQ(iommufd_.AllocateHwpt(static_cast<uint32_t>(device), ioas,
                                  {.flags = uapi::IOMMU_HWPT_ALLOC_NEST_PARENT}),
            -EOPNOTSUPP);
}

// The trap that makes the agent look at the width first.
TEST_F(CdevTest, PasidOfADeviceWithoutPasidsIsTakenInVain) {
  const int device = Bind(iommufd_.fd());
  ASSERT_THAT(device, Gt(0));
  const auto ioas = static_cast<uint32_t>(iommufd_.AllocateIoas());
  const int64_t table = iommufd_.AllocateHwpt(static_cast<uint32_t>(device), ioas,
                                              {.flags = uapi::IOMMU_HWPT_ALLOC_PASID});
  ASSERT_THAT(table, Gt(0));
  ASSERT_EQ(Attach(static_cast<uint32_t>(table)), 0);
  EXPECT_EQ(Attach(static_cast<uint32_t>(table), uapi::VFIO_DEVICE_ATTACH_PASID, 5), 0);
}

}  // namespace
}  // namespace nestor::kernel_test
