// What the IOTLB keeps from a guest's tables, and what makes it forget.

#include "agent/kernel/sim_iotlb.h"

#include "agent/kernel/test_dma.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

class SimIotlbTest : public SimDmaTest {
 protected:
  void SetUp() override {
    SimDmaTest::SetUp();
    ASSERT_EQ(ReadText(), kBefore);
    table_.Map(kAddress, kPageB, 1, kRights);
  }
  TestInvalidate Range(uint64_t address, uint64_t granule, uint64_t count) {
    TestInvalidate request;
    request.info.granularity = uapi::IOMMU_INV_GRANU_ADDR;
    request.info.granu.addr_info = {.flags = uapi::IOMMU_INV_ADDR_FLAGS_PASID,
                                    .archid = 0,
                                    .pasid = kPasid,
                                    .addr = address,
                                    .granule_size = granule,
                                    .nb_granules = count};
    return request;
  }
  static constexpr char kBefore[] = "page of the first table";
  static constexpr char kAfter[] = "page of another table..";
};

TEST_F(SimIotlbTest, ChangedEntryIsNotSeenUntilThePasidIsInvalidated) {
  EXPECT_EQ(ReadText(), kBefore);
  EXPECT_TRUE(engine_.Write(kPasid, kAddress + 4095, "!"));
  EXPECT_EQ(ram_.Read(kPageA + 4095, 1), "!");
  ASSERT_EQ(container_.Invalidate(TestInvalidate()), 0);
  EXPECT_EQ(ReadText(), kAfter);
}

TEST_F(SimIotlbTest, ChangedEntryIsNotSeenUntilItsAddressIsInvalidated) {
  ASSERT_EQ(container_.Invalidate(Range(kAddress + 4096, 4096, 1)), 0);
  EXPECT_EQ(ReadText(), kBefore);
  ASSERT_EQ(container_.Invalidate(Range(kAddress, 4096, 1)), 0);
  EXPECT_EQ(ReadText(), kAfter);
}

TEST_F(SimIotlbTest, RemovedEntryIsUsedUntilInvalidated) {
  *table_.Entry(kAddress, 1) = 0;
  EXPECT_EQ(ReadText(), kBefore);
  ASSERT_EQ(container_.Invalidate(TestInvalidate()), 0);
  EXPECT_EQ(ReadText(), "");
}

TEST_F(SimIotlbTest, EntryThatWasNotPresentNeedsNoInvalidation) {
  EXPECT_EQ(engine_.Read(kPasid, kAddress + 4096, 4), "");
  table_.Map(kAddress + 4096, kPageB, 1, kRights);
  EXPECT_EQ(engine_.Read(kPasid, kAddress + 4096, 4), "page");
}

TEST_F(SimIotlbTest, RangeIsWidenedToAPowerOfTwoOfPages) {
  // Three pages from two below: widened to four, which the hardware takes as an aligned block.
  ASSERT_EQ(container_.Invalidate(Range(kAddress - 2 * 4096, 4096, 3)), 0);
  EXPECT_EQ(ReadText(), kBefore);  // the block of four ends before kAddress
  ASSERT_EQ(container_.Invalidate(Range(kAddress + 3 * 4096, 4096, 3)), 0);
  EXPECT_EQ(ReadText(), kAfter);  // its start, rounded down to four pages, is kAddress
}

TEST_F(SimIotlbTest, RangeOfLargeGranulesReachesEachPage) {
  ASSERT_EQ(container_.Invalidate(Range(kAddress, 2 << 20, 1)), 0);
  EXPECT_EQ(ReadText(), kAfter);
}

TEST_F(SimIotlbTest, AnyAddressInALargePageInvalidatesAllOfIt) {
  constexpr uint64_t kLarge = 0x200000;
  table_.Map(kLarge, 0x200000, 2, kRights);  // RAM from 2 MiB
  ram_.Write(0x200000 + 0x3000, "large");
  ASSERT_EQ(engine_.Read(kPasid, kLarge + 0x3000, 5), "large");
  *table_.Entry(kLarge, 2) = 0;
  ASSERT_EQ(container_.Invalidate(Range(kLarge + 0x100000, 4096, 1)), 0);
  EXPECT_EQ(engine_.Read(kPasid, kLarge + 0x3000, 5), "");
}

TEST_F(SimIotlbTest, WhatVtdSkipsIsNotInvalidated) {
  TestInvalidate domain;
  domain.info.granularity = uapi::IOMMU_INV_GRANU_DOMAIN;
  EXPECT_EQ(container_.Invalidate(domain), 0);
  TestInvalidate device_only;
  device_only.info.cache = uapi::IOMMU_CACHE_INV_TYPE_DEV_IOTLB;
  EXPECT_EQ(container_.Invalidate(device_only), 0);
  TestInvalidate pasid_cache;
  pasid_cache.info.cache = uapi::IOMMU_CACHE_INV_TYPE_PASID;
  EXPECT_EQ(container_.Invalidate(pasid_cache), 0);
  TestInvalidate unnamed;
  unnamed.info.granu.pasid_info.flags = 0;
  EXPECT_EQ(container_.Invalidate(unnamed), 0);
  EXPECT_EQ(ReadText(), kBefore);
}

TEST_F(SimIotlbTest, OtherCachesBesideTheIotlbDoNotHinder) {
  TestInvalidate all;
  all.info.cache = 7;
  EXPECT_EQ(container_.Invalidate(all), 0);
  EXPECT_EQ(ReadText(), kAfter);
}

TEST_F(SimIotlbTest, InvalidationMustHaveItsPasidAndNeedsNoMore) {
  TestInvalidate request;
  request.info.argsz = uapi::IOMMU_INV_PASID_MIN_SIZE - 1;
  EXPECT_EQ(container_.Invalidate(request), 0);
  EXPECT_EQ(ReadText(), kBefore);
  request.info.argsz = uapi::IOMMU_INV_PASID_MIN_SIZE;
  EXPECT_EQ(container_.Invalidate(request), 0);
  EXPECT_EQ(ReadText(), kAfter);
}

TEST_F(SimIotlbTest, InvalidationOfOnePasidLeavesTheOthers) {
  ASSERT_EQ(container_.Allocate(6), 6);
  ASSERT_EQ(container_.Bind(6, kOtherRoot), 0);
  ASSERT_EQ(engine_.Read(6, kAddress, 23), kAfter);
  TestInvalidate request;
  request.info.granu.pasid_info.pasid = 6;
  ASSERT_EQ(container_.Invalidate(request), 0);
  EXPECT_EQ(ReadText(), kBefore);
}

TEST_F(SimIotlbTest, ForeignPasidCannotBeInvalidated) {
  const auto other = kernel_.CreateProcess();
  TestContainer foreign = TestContainer::Nesting(*other, 2);
  ASSERT_EQ(foreign.Invalidate(TestInvalidate()), 0);
  EXPECT_EQ(ReadText(), kBefore);
}

TEST_F(SimIotlbTest, MappingMoreMemoryInvalidatesNothing) {
  const TestRam more(0x20000000, 4096);
  ASSERT_EQ(container_.Map(more), 0);
  EXPECT_EQ(ReadText(), kBefore);
  ASSERT_EQ(container_.Unmap(more.guest_address(), more.size()), 4096);
  EXPECT_EQ(ReadText(), kAfter);  // an unmap flushes the whole domain
}

TEST_F(SimIotlbTest, FirstWriteMarksAPageDirtyThoughItsReadIsKept) {
  table_.Map(kAddress + 4096, kPageB);
  ASSERT_EQ(engine_.Read(kPasid, kAddress + 4096, 4), "page");
  EXPECT_EQ(*table_.Entry(kAddress + 4096, 1) & kTestDirty, 0U);
  ASSERT_TRUE(engine_.Write(kPasid, kAddress + 4096, "text"));
  EXPECT_EQ(*table_.Entry(kAddress + 4096, 1) & kTestDirty, kTestDirty);
}

TEST_F(SimIotlbTest, DetachedDeviceLeavesNothing) {
  container_.CloseDevice();
  EXPECT_GT(IotlbEntries(), 0);
  ASSERT_EQ(process_->Ioctl(container_.group(), uapi::VFIO_GROUP_UNSET_CONTAINER, 0), 0);
  EXPECT_EQ(IotlbEntries(), 0);
}

TEST_F(SimIotlbTest, FullIotlbForgets) {
  SimIotlb iotlb;
  for (uint64_t page = 0; page < SimIotlb::kCapacity; ++page) iotlb.Insert(0, 1, page * 4096, {});
  EXPECT_EQ(iotlb.size(), static_cast<int>(SimIotlb::kCapacity));
  iotlb.Insert(0, 2, 0, {});
  EXPECT_EQ(iotlb.size(), 1);
}

}  // namespace
}  // namespace nestor::kernel
