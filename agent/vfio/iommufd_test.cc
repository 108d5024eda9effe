// The bytes that reach the kernel, against vectors compiled from the headers of Linux 7.2.
#include "agent/vfio/iommufd.h"

#include "agent/core/kernel_error.h"
#include "agent/vfio/iommufd_device.h"
#include "agent/vfio/stage1_format.h"
#include "agent/vfio/test_iommufd_kernel.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::Eq;

namespace uapi = kernel::uapi;

// The ids of the vectors: device 1, IOAS 2, parent 3, nested 4.
class IommufdTest : public testing::Test {
 protected:
  const TestIommufdKernel::Call& last() const { return kernel_.calls.back(); }

  TestIommufdKernel kernel_;
  Iommufd iommufd_{VfioFile(kernel_, TestIommufdKernel::kIommufd, "/dev/iommu")};
};

TEST_F(IommufdTest, MemoryIsCountedPerProcessBeforeAnythingElse) {
  ASSERT_THAT(kernel_.calls.size(), Eq(1U));
  EXPECT_THAT(kernel_.Sent(uapi::IOMMU_OPTION),
              ElementsAre("18000000 00000000 00000000 00000000 01000000 00000000"));
}

TEST_F(IommufdTest, IoasIsAllocated) {
  EXPECT_THAT(*iommufd_.AllocateIoas(), Eq(1U));
  EXPECT_THAT(Hex(last().bytes), Eq("0c000000 00000000 00000000"));
}

TEST_F(IommufdTest, MemoryIsMappedAtItsGuestAddress) {
  ASSERT_TRUE(iommufd_.Map(2, {.size = 1 << 30, .user_address = 0x7f00'0000'0000}).ok());
  EXPECT_THAT(last().request, Eq(uapi::IOMMU_IOAS_MAP));
  EXPECT_THAT(Hex(last().bytes), Eq("28000000 07000000 02000000 00000000 00000000 007f0000 "
                                    "00000040 00000000 00000000 00000000"));
}

TEST_F(IommufdTest, ReadOnlyMemoryIsNotMappedForWriting) {
  ASSERT_TRUE(iommufd_.Map(2, {.size = 4096, .writable = false}).ok());
  EXPECT_THAT(last().bytes.at(4), Eq(5));
}

TEST_F(IommufdTest, ExactlyTheRegionIsUnmapped) {
  EXPECT_THAT(*iommufd_.Unmap(2, {.guest_address = 0x10'0000, .size = 0x2000}), Eq(0x2000U));
  EXPECT_THAT(Hex(last().bytes), Eq("18000000 02000000 00001000 00000000 00200000 00000000"));
}

TEST_F(IommufdTest, HardwareIsAskedWithRoomForEveryKind) {
  const IommufdHardware hardware = *iommufd_.GetHardware(1);
  EXPECT_THAT(hardware.type, Eq(uapi::IOMMU_HW_INFO_TYPE_INTEL_VTD));
  EXPECT_THAT(hardware.pasid_bits, Eq(20U));
  EXPECT_THAT(Hex(last().bytes).substr(0, 35), Eq("28000000 00000000 01000000 28000000"));
}

TEST_F(IommufdTest, NestParentHasNoData) {
  ASSERT_TRUE(iommufd_.AllocateHwpt({.flags = 1, .device = 1, .parent = 2}).ok());
  EXPECT_THAT(Hex(last().bytes), Eq("30000000 01000000 01000000 02000000 00000000 00000000 "
                                    "00000000 00000000 00000000 00000000 00000000 00000000"));
  ASSERT_TRUE(iommufd_.AllocateHwpt({.flags = 9, .device = 1, .parent = 2}).ok());
  EXPECT_THAT(Hex(last().bytes).substr(0, 17), Eq("30000000 09000000"));
}

TEST_F(IommufdTest, NestedVtdTableCarriesTheRoot) {
  const Stage1Format& vtd = LinuxStage1Formats()[0];
  ASSERT_TRUE(iommufd_
                  .AllocateHwpt({.flags = 8,
                                 .device = 1,
                                 .parent = 3,
                                 .data_type = vtd.hwpt_data_type,
                                 .data = vtd.encode({.root = 0x1'2345'6000})})
                  .ok());
  EXPECT_THAT(Hex(last().bytes), Eq("30000000 08000000 01000000 03000000 00000000 00000000 "
                                    "01000000 18000000 00000000 00000000 00000000 00000000"));
  EXPECT_THAT(Hex(last().data), Eq("00000000 00000000 00604523 01000000 30000000 00000000"));
}

TEST_F(IommufdTest, InvalidationIsOneEntry) {
  const Stage1Format& vtd = LinuxStage1Formats()[0];
  ASSERT_TRUE(iommufd_
                  .Invalidate({.target = 4,
                               .data_type = vtd.invalidation_data_type,
                               .entry = vtd.encode_invalidation(0, 0)})
                  .ok());
  EXPECT_THAT(Hex(last().bytes),
              Eq("20000000 04000000 00000000 00000000 00000000 18000000 01000000 00000000"));
  EXPECT_THAT(Hex(last().data), Eq("00000000 00000000 ffffffff ffffffff 00000000 00000000"));
}

TEST_F(IommufdTest, InvalidationOfNothingProbes) {
  ASSERT_TRUE(iommufd_.Invalidate({.target = 4}).ok());
  EXPECT_THAT(Hex(last().bytes),
              Eq("20000000 04000000 00000000 00000000 00000000 00000000 00000000 00000000"));
}

TEST_F(IommufdTest, ReleaseDestroys) {
  iommufd_.Release(4);
  EXPECT_THAT(kernel_.Sent(uapi::IOMMU_DESTROY), ElementsAre("08000000 04000000"));
}

TEST_F(IommufdTest, WhatIsStillUsedIsDestroyedWithTheNextRelease) {
  kernel_.Fail(uapi::IOMMU_DESTROY, EBUSY);
  iommufd_.Release(4);
  kernel_.Fail(uapi::IOMMU_DESTROY, ENOENT);  // as after a success that a signal hid
  iommufd_.Release(3);
  kernel_.calls.clear();
  iommufd_.Release(2);
  EXPECT_THAT(kernel_.Sent(uapi::IOMMU_DESTROY), ElementsAre("08000000 02000000"));
}

TEST_F(IommufdTest, AddressWidthIsThatOfTheLastRange) {
  EXPECT_THAT(*iommufd_.AddressWidth(2), Eq(48U));
}

TEST_F(IommufdTest, ErrorNamesTheCallAndItsObject) {
  kernel_.Fail(uapi::IOMMU_IOAS_MAP, EEXIST);
  const absl::Status status = iommufd_.Map(2, {.guest_address = 0x1000, .size = 0x2000});
  EXPECT_THAT(*GetKernelError(status),
              Eq(KernelError{"IOMMU_IOAS_MAP", "/dev/iommu 0x1000 size 0x2000", EEXIST}));
}

class VfioDeviceNodeTest : public testing::Test {
 protected:
  TestIommufdKernel kernel_;
  std::unique_ptr<IommufdDevice> device_ = *OpenVfioDeviceNode(kernel_, "0000:01:00.0");
};

TEST_F(VfioDeviceNodeTest, BindNamesTheIommufd) {
  EXPECT_THAT(*device_->Bind(5), Eq(1U));
  EXPECT_THAT(kernel_.Sent(uapi::VFIO_DEVICE_BIND_IOMMUFD),
              ElementsAre("18000000 00000000 05000000 00000000 00000000 00000000"));
}

TEST_F(VfioDeviceNodeTest, AttachOfAPasidSaysSo) {
  ASSERT_TRUE(device_->Attach(100, 4).ok());
  ASSERT_TRUE(device_->Attach(100, 5).ok());
  ASSERT_TRUE(device_->Detach(100).ok());
  EXPECT_THAT(
      kernel_.Sent(uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT),
      ElementsAre("10000000 01000000 04000000 64000000", "10000000 01000000 05000000 64000000"));
  EXPECT_THAT(kernel_.Sent(uapi::VFIO_DEVICE_DETACH_IOMMUFD_PT),
              ElementsAre("0c000000 01000000 64000000"));
}

// With the flag, PASID 0 would mean the device itself all the same.
TEST_F(VfioDeviceNodeTest, DeviceItselfIsAttachedWithoutPasid) {
  ASSERT_TRUE(device_->Attach(0, 3).ok());
  ASSERT_TRUE(device_->Detach(0).ok());
  EXPECT_THAT(kernel_.Sent(uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT),
              ElementsAre("0c000000 00000000 03000000"));
  EXPECT_THAT(kernel_.Sent(uapi::VFIO_DEVICE_DETACH_IOMMUFD_PT), ElementsAre("08000000 00000000"));
}

TEST_F(VfioDeviceNodeTest, DestructionClosesTheNode) {
  device_.reset();
  EXPECT_THAT(kernel_.open_files, Eq(0));
}

TEST(Stage1FormatTest, VtdRangeCoversEveryPageThatItTouches) {
  const Stage1Format& vtd = LinuxStage1Formats()[0];
  EXPECT_THAT(Hex(vtd.encode_invalidation(0x7f12'3456'7000, 512 * 4096)),
              Eq("00705634 127f0000 00020000 00000000 00000000 00000000"));
  EXPECT_THAT(Hex(vtd.encode_invalidation(0x7f12'3456'7fff, 2)),
              Eq("00705634 127f0000 02000000 00000000 00000000 00000000"));
  EXPECT_THAT(Hex(vtd.encode_invalidation(~uint64_t{0}, 1)),
              Eq("00f0ffff ffffffff 01000000 00000000 00000000 00000000"));
}

TEST(Stage1FormatTest, VtdFlagsAreTheKernelsOwn) {
  const Stage1Format& vtd = LinuxStage1Formats()[0];
  EXPECT_THAT(Hex(vtd.encode(
                  {.address_width = 57, .supervisor_request = true, .extended_access_flag = true})),
              Eq("03000000 00000000 00000000 00000000 39000000 00000000"));
}

// V, Config 5 (stage 1) and the pointer; write-back, inner shareable.
TEST(Stage1FormatTest, SmmuTableIsAStreamTableEntryThatAGuestMayWrite) {
  const Stage1Format& smmu = LinuxStage1Formats()[1];
  EXPECT_THAT(Hex(smmu.encode({.format = PageTableFormat::kArmSmmuV3, .root = 0x1'2345'6000})),
              Eq("0b604523 01000000 d4000000 00000000"));
  EXPECT_THAT(Hex(smmu.encode_empty()), Eq("00000000 00000000 00000000 00000000"));
  EXPECT_THAT(Hex(smmu.encode_invalidation(0x1000, 0x1000)),
              Eq("10000000 00000000 00000000 00000000"));
}

}  // namespace
}  // namespace nestor::agent
