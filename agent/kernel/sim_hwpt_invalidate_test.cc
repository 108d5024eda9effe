// Invalidation of what an IOMMU keeps of a nested page table.

#include <cerrno>
#include <string>

#include "agent/kernel/test_hwpt.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

TEST_F(SimHwptTest, CachedTranslationStaysUntilItIsInvalidated) {
  const int nested = iommufd_.Vtd(device_, parent_, kRoot);
  ASSERT_EQ(cdev_.AttachPasid(kPasid, nested), nested);
  ASSERT_EQ(ReadText(), "of the first table");
  table_.Map(kAddress, kPageB);
  EXPECT_EQ(ReadText(), "of the first table");
  EXPECT_EQ(iommufd_.Invalidate(nested, kAddress + 4096, 1), 0);
  EXPECT_EQ(ReadText(), "of the first table");
  EXPECT_EQ(iommufd_.Invalidate(nested, kAddress, 1), 0);
  EXPECT_EQ(ReadText(), "of another table..");
}

TEST_F(SimHwptTest, InvalidationReachesEveryPasidOfTheHwptAndNoOther) {
  const int nested = iommufd_.Vtd(device_, parent_, kRoot);
  const int other = iommufd_.Vtd(device_, parent_, kRoot);
  ASSERT_EQ(cdev_.AttachPasid(1, nested), nested);
  ASSERT_EQ(cdev_.AttachPasid(2, nested), nested);
  ASSERT_EQ(cdev_.AttachPasid(3, other), other);
  for (const uint32_t pasid : {1, 2, 3}) ASSERT_EQ(ReadText(pasid), "of the first table");
  ASSERT_EQ(kernel_.Statistics().iotlb_entries, 3);
  EXPECT_EQ(iommufd_.Invalidate(nested, 0, kMax), 0);
  EXPECT_EQ(kernel_.Statistics().iotlb_entries, 1);
}

TEST_F(SimHwptTest, RangeIsWidenedToAnAlignedPowerOfTwo) {
  const int nested = iommufd_.Vtd(device_, parent_, kRoot);
  ASSERT_EQ(cdev_.AttachPasid(kPasid, nested), nested);
  ASSERT_EQ(ReadText(), "of the first table");
  EXPECT_EQ(iommufd_.Invalidate(nested, kAddress + 4096, 2), 0);  // pages 1 and 2: 0 to 3
  EXPECT_EQ(kernel_.Statistics().iotlb_entries, 0);
  EXPECT_EQ(iommufd_.Invalidate(nested, kAddress, kMax - 1), 0);
}

class SimHwptInvalidateTest : public SimHwptTest {
 protected:
  int Call(uint32_t entry_num) {
    invalidate_.size = sizeof(invalidate_);
    invalidate_.hwpt_id = static_cast<uint32_t>(nested_);
    invalidate_.entry_num = entry_num;
    return iommufd_.Call(uapi::IOMMU_HWPT_INVALIDATE, &invalidate_);
  }
  void SetEntries(uapi::iommu_hwpt_vtd_s1_invalidate* entries) {
    invalidate_.data_uptr = reinterpret_cast<uint64_t>(entries);
    invalidate_.entry_len = sizeof(*entries);
  }

  const int nested_ = iommufd_.Vtd(device_, parent_, kRoot);
  uapi::iommu_hwpt_invalidate invalidate_ = {};
};

TEST_F(SimHwptInvalidateTest, ProbeHasNoEntries) {
  EXPECT_EQ(Call(0), 0);
  invalidate_.data_type = uapi::IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3;
  EXPECT_EQ(Call(0), -EINVAL);
}

TEST_F(SimHwptInvalidateTest, ArgumentIsChecked) {
  uapi::iommu_hwpt_vtd_s1_invalidate entry = {.addr = 0, .npages = kMax, .flags = 0, .reserved = 0};
  EXPECT_EQ(Call(1), -EINVAL);
  SetEntries(&entry);
  invalidate_.entry_len = 23;
  EXPECT_EQ(Call(1), -EINVAL);
  invalidate_.entry_len = 4097;
  EXPECT_EQ(Call(1), -EINVAL);
  invalidate_.entry_len = sizeof(entry);
  EXPECT_EQ(Call((1 << 19) + 1), -EINVAL);
  invalidate_.reserved = 1;
  EXPECT_EQ(Call(1), -EOPNOTSUPP);
  invalidate_.reserved = 0;
  EXPECT_EQ(Call(1), 0);
  invalidate_.data_uptr = 8;
  EXPECT_EQ(Call(1), -EFAULT);
}

TEST_F(SimHwptInvalidateTest, OnlyNestedHwptsAreInvalidated) {
  EXPECT_EQ(iommufd_.Invalidate(parent_, 0, kMax), -EINVAL);
  EXPECT_EQ(iommufd_.Invalidate(ioas_, 0, kMax), -EINVAL);
  EXPECT_EQ(iommufd_.Invalidate(99, 0, kMax), -ENOENT);
}

TEST_F(SimHwptInvalidateTest, NumberSaysHowFarItCame) {
  uapi::iommu_hwpt_vtd_s1_invalidate entries[2] = {};
  entries[0].npages = 1;
  entries[1].addr = 1;
  SetEntries(entries);
  EXPECT_EQ(Call(2), -EINVAL);
  EXPECT_EQ(invalidate_.entry_num, 1u);
  entries[1] = {.addr = 4096, .npages = kMax, .flags = 0, .reserved = 0};
  EXPECT_EQ(Call(2), -EINVAL);
  entries[1] = {.addr = 4096, .npages = 1, .flags = 2, .reserved = 0};
  EXPECT_EQ(Call(2), -EOPNOTSUPP);
  entries[1].flags = uapi::IOMMU_VTD_INV_FLAGS_LEAF;
  EXPECT_EQ(Call(2), 0);
  EXPECT_EQ(invalidate_.entry_num, 2u);
}

}  // namespace
}  // namespace nestor::kernel
