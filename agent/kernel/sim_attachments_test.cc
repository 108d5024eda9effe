// Attachments of devices and PASIDs to page tables: which are made, and what they translate.

#include <cerrno>
#include <string>

#include "agent/kernel/test_hwpt.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::IsEmpty;

TEST_F(SimHwptTest, PasidIsTranslatedByTheGuestsTable) {
  const int nested = iommufd_.Vtd(device_, parent_, kRoot);
  EXPECT_EQ(ReadText(), "");
  ASSERT_EQ(cdev_.AttachPasid(kPasid, nested), nested);
  EXPECT_EQ(ReadText(), "of the first table");
  EXPECT_TRUE(engine_.Write(kPasid, kAddress, "by DMA"));
  EXPECT_EQ(ram_.Read(kPageA, 6), "by DMA");
  EXPECT_THAT(
      kernel_.Bindings(),
      ElementsAre(SimBinding{"0000:01:00.0", kPasid, {.root = kRoot, .address_width = 48}}));
  ASSERT_EQ(cdev_.DetachPasid(kPasid), 0);
  EXPECT_EQ(ReadText(), "");
  EXPECT_EQ(engine_.reason(), uapi::IOMMU_FAULT_REASON_BAD_PASID_ENTRY);
}

TEST_F(SimHwptTest, PasidMayGoThroughStage2Alone) {
  ASSERT_EQ(cdev_.AttachPasid(kPasid, parent_), parent_);
  EXPECT_EQ(engine_.Read(kPasid, kPageA, 18), "of the first table");
  EXPECT_THAT(kernel_.Bindings(), IsEmpty());
}

TEST_F(SimHwptTest, PasidsAreAttachedBesideTheDeviceItself) {
  ASSERT_EQ(cdev_.Attach(parent_), parent_);
  const int nested = iommufd_.Vtd(device_, parent_, kRoot);
  ASSERT_EQ(cdev_.AttachPasid(kPasid, nested), nested);
  ASSERT_EQ(cdev_.AttachPasid(kPasid + 1, iommufd_.Vtd(device_, parent_, kOtherRoot)), nested + 1);
  EXPECT_EQ(engine_.Read({}, kPageB, 18), "of another table..");
  EXPECT_EQ(ReadText(kPasid), "of the first table");
  EXPECT_EQ(ReadText(kPasid + 1), "of another table..");
  ASSERT_EQ(cdev_.Detach(), 0);
  EXPECT_EQ(engine_.Read({}, kPageB, 18), "");
  EXPECT_EQ(ReadText(kPasid), "of the first table");
}

TEST_F(SimHwptTest, AttachOfAnAttachedPasidReplacesAndFlushes) {
  const int first = iommufd_.Vtd(device_, parent_, kRoot);
  const int second = iommufd_.Vtd(device_, parent_, kOtherRoot);
  ASSERT_EQ(cdev_.AttachPasid(kPasid, first), first);
  ASSERT_EQ(ReadText(), "of the first table");
  EXPECT_EQ(iommufd_.Destroy(first), -EBUSY);
  ASSERT_EQ(cdev_.AttachPasid(kPasid, second), second);
  EXPECT_EQ(ReadText(), "of another table..");
  EXPECT_EQ(iommufd_.Destroy(first), 0);
  EXPECT_EQ(kernel_.Statistics().attachments, 1);
}

TEST_F(SimHwptTest, ReplacementThatFailsLateLeavesThePasidUntranslated) {
  const int nested = iommufd_.Vtd(device_, parent_, kRoot);
  ASSERT_EQ(cdev_.AttachPasid(kPasid, nested), nested);
  EXPECT_EQ(cdev_.AttachPasid(kPasid, iommufd_.Vtd(device_, parent_, kRoot, 0)), -EINVAL);
  EXPECT_EQ(ReadText(), "");
  EXPECT_EQ(iommufd_.Destroy(nested), -EBUSY);  // the books name it still
  // The same id changes nothing, so the way back is a detach.
  EXPECT_EQ(cdev_.AttachPasid(kPasid, nested), nested);
  EXPECT_EQ(ReadText(), "");
  ASSERT_EQ(cdev_.DetachPasid(kPasid), 0);
  ASSERT_EQ(cdev_.AttachPasid(kPasid, nested), nested);
  EXPECT_EQ(ReadText(), "of the first table");
}

TEST_F(SimHwptTest, ReplacementThatFailsEarlyChangesNothing) {
  const int nested = iommufd_.Vtd(device_, parent_, kRoot);
  ASSERT_EQ(cdev_.AttachPasid(kPasid, nested), nested);
  EXPECT_EQ(cdev_.AttachPasid(kPasid, 99), -ENOENT);
  EXPECT_EQ(cdev_.AttachPasid(kPasid, iommufd_.Vtd(device_, parent_, kRoot, 48, 0, 0)), -EINVAL);
  EXPECT_EQ(ReadText(), "of the first table");
}

TEST_F(SimHwptTest, WidthAndRequestFlagsAreJudgedAtTheAttach) {
  const auto attach = [&](uint32_t width, uint64_t flags) {
    const int nested = iommufd_.Vtd(device_, parent_, kRoot, width, flags);
    EXPECT_THAT(nested, Ge(1));
    const int result = cdev_.AttachPasid(kPasid, nested);
    cdev_.DetachPasid(kPasid);
    return result < 0 ? result : 0;
  };
  EXPECT_EQ(attach(0, 0), -EINVAL);
  EXPECT_EQ(attach(39, 0), -EINVAL);
  EXPECT_EQ(attach(57, 0), 0);
  EXPECT_EQ(attach(48, uapi::IOMMU_VTD_S1_SRE | uapi::IOMMU_VTD_S1_EAFE), 0);
  EXPECT_EQ(attach(48, uint64_t{1} << 40), 0);  // unknown, and passed over
}

TEST_F(SimHwptTest, RootIsNeverChecked) {
  const int nested = iommufd_.Vtd(device_, parent_, uint64_t{1} << 60);
  ASSERT_EQ(cdev_.AttachPasid(kPasid, nested), nested);
  EXPECT_EQ(ReadText(), "");
  EXPECT_EQ(engine_.reason(), uapi::IOMMU_FAULT_REASON_WALK_EABT);
  const int unaligned = iommufd_.Vtd(device_, parent_, kRoot + 0x123);
  ASSERT_EQ(cdev_.AttachPasid(kPasid, unaligned), unaligned);
  EXPECT_EQ(ReadText(), "of the first table");
}

TEST_F(SimHwptTest, WriteProtectionHoldsForSupervisorsWhereTheGuestSaysSo) {
  *table_.Entry(kAddress, 1) = kPageA | kTestPresent | kTestUser;
  const auto write = [&](uint64_t flags) {
    const int nested = iommufd_.Vtd(device_, parent_, kRoot, 48, flags);
    EXPECT_THAT(cdev_.AttachPasid(kPasid, nested), Ge(1));
    return engine_.Write(kPasid, kAddress, "x", /*privileged=*/true);
  };
  EXPECT_TRUE(write(uapi::IOMMU_VTD_S1_SRE));
  EXPECT_FALSE(write(uapi::IOMMU_VTD_S1_SRE | uapi::IOMMU_VTD_S1_WPE));
  EXPECT_FALSE(write(uapi::IOMMU_VTD_S1_WPE));  // it takes SRE for any such request
}

TEST_F(SimHwptTest, PasidMustFitTheDevice) {
  const int nested = iommufd_.Vtd(device_, parent_, kRoot);
  EXPECT_EQ(cdev_.AttachPasid(1 << 20, nested), -EINVAL);
  EXPECT_EQ(cdev_.AttachPasid((1 << 20) - 1, nested), nested);
}

TEST_F(SimHwptTest, PasidZeroIsTheDeviceItself) {
  const int nested = iommufd_.Vtd(device_, parent_, kRoot);
  ASSERT_EQ(cdev_.AttachPasid(0, nested), nested);
  EXPECT_EQ(engine_.Read({}, kAddress, 18), "of the first table");
  // VFIO does not know that it is, and iommufd that it is not.
  EXPECT_EQ(cdev_.Attach(parent_), -EBUSY);
  ASSERT_EQ(cdev_.Detach(), 0);
  EXPECT_EQ(engine_.Read({}, kAddress, 18), "of the first table");
  ASSERT_EQ(cdev_.DetachPasid(0), 0);
  EXPECT_EQ(engine_.Read({}, kAddress, 18), "");
}

TEST_F(SimHwptTest, PasidAndDeviceNeedHwptsThatAllowForPasids) {
  const int plain = iommufd_.Paging(device_, ioas_, 0);
  const int nested = iommufd_.Vtd(device_, parent_, kRoot);
  EXPECT_EQ(cdev_.AttachPasid(kPasid, plain), -EINVAL);
  EXPECT_EQ(cdev_.AttachPasid(kPasid, ioas_), -EINVAL);
  ASSERT_EQ(cdev_.Attach(plain), plain);
  EXPECT_EQ(cdev_.AttachPasid(kPasid, nested), -EINVAL);
  ASSERT_EQ(cdev_.Attach(parent_), parent_);
  ASSERT_EQ(cdev_.AttachPasid(kPasid, nested), nested);
  EXPECT_EQ(cdev_.Attach(plain), -EINVAL);
  EXPECT_EQ(engine_.Read({}, kPageA, 18), "of the first table");
}

TEST_F(SimHwptTest, DeviceItselfMayBeNested) {
  const int nested = iommufd_.Vtd(device_, parent_, kRoot, 48, 0, 0);
  ASSERT_EQ(cdev_.Attach(nested), nested);
  EXPECT_EQ(engine_.Read({}, kAddress, 18), "of the first table");
  EXPECT_THAT(kernel_.Bindings(),
              ElementsAre(SimBinding{"0000:01:00.0", 0, {.root = kRoot, .address_width = 48}}));
}

TEST_F(SimHwptTest, FailedReplacementOfTheDeviceBlocksIt) {
  ASSERT_EQ(cdev_.Attach(parent_), parent_);
  EXPECT_EQ(cdev_.Attach(iommufd_.Vtd(device_, parent_, kRoot, 0)), -EINVAL);
  EXPECT_EQ(engine_.Read({}, kPageA, 18), "");
  EXPECT_EQ(iommufd_.Destroy(parent_), -EBUSY);
}

TEST_F(SimHwptTest, LastCloseOfTheDeviceDetachesItsPasids) {
  const int nested = iommufd_.Vtd(device_, parent_, kRoot);
  ASSERT_EQ(cdev_.AttachPasid(kPasid, nested), nested);
  ASSERT_EQ(ReadText(), "of the first table");
  cdev_.Close();
  const SimStatistics left = kernel_.Statistics();
  EXPECT_EQ(left.bindings + left.attachments + left.iotlb_entries, 0);
  EXPECT_EQ(iommufd_.Destroy(nested), 0);
}

}  // namespace
}  // namespace nestor::kernel
