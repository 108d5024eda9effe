#include "agent/kernel/sim_stage1.h"

#include <unistd.h>

#include <ostream>
#include <utility>
#include <variant>

#include "agent/kernel/test_page_table.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {

void PrintTo(const SimTranslationFault& fault, std::ostream* out) {
  *out << "reason " << fault.reason << " at " << fault.fetch_address;
}

namespace {

using ::testing::AllOf;
using ::testing::Field;
using ::testing::VariantWith;

constexpr uint64_t kRam = 0x40000000;
constexpr uint64_t kRamSize = 8 << 20;
constexpr uint64_t kAddress = 0x00007f1234567000;
constexpr uint64_t kTarget = kRam + 0x123000;
constexpr uint64_t kPageSize = 4096;
constexpr uint64_t kLargePageSize = 2 << 20;
constexpr uint64_t kHugePageSize = 1 << 30;

constexpr SimAccess kRead = {};
constexpr SimAccess kWrite = {.write = true};
constexpr SimAccess kPrivilegedRead = {.privileged = true};
constexpr SimAccess kPrivilegedWrite = {.write = true, .privileged = true};

// The walk over RAM of 8 MiB at 1 GiB, mapped for reading and writing.
class SimStage1Test : public ::testing::Test {
 protected:
  SimStage1Test() { MapStage2(kRam, kRamSize, /*writable=*/true); }

  void MapStage2(uint64_t guest_address, uint64_t size, bool writable) {
    const uint64_t frame = memory_.Pin(UserMemory(getpid()), ram_.user_address(), size);
    stage2_.Map(guest_address,
                {.size = size, .host_address = frame, .readable = true, .writable = writable});
  }
  SimWalkResult Walk(uint64_t address, SimAccess access = kRead, uint32_t width = 48) {
    stage1_.address_width = width;
    return WalkStage1(iommu_, memory_, stage2_, stage1_, address, access);
  }
  // A good walk that leads to that guest physical page.
  auto LeadsTo(uint64_t guest_address) {
    return VariantWith<SimTranslation>(Field("host_page", &SimTranslation::host_page,
                                             stage2_.Translate(guest_address)->host_address));
  }
  static auto Faults(uint32_t reason, uint64_t fetch_address = 0) {
    return VariantWith<SimTranslationFault>(
        AllOf(Field("reason", &SimTranslationFault::reason, reason),
              Field("fetch_address", &SimTranslationFault::fetch_address, fetch_address)));
  }
  uint64_t GuestAddressOf(const uint64_t* entry) const {
    return reinterpret_cast<uint64_t>(entry) - ram_.user_address() + kRam;
  }

  const TestRam ram_{kRam, kRamSize};
  TestPageTable table_{ram_, kRam};
  SimIommuProperties iommu_;
  SimPhysicalMemory memory_;
  SimStage2 stage2_;
  SimStage1 stage1_{.root = kRam};
};

TEST_F(SimStage1Test, FourLevelsLeadToA4KiBPage) {
  table_.Map(kAddress, kTarget);
  EXPECT_THAT(Walk(kAddress), LeadsTo(kTarget));
  EXPECT_THAT(Walk(kAddress + 0xfff, kWrite), LeadsTo(kTarget));
}

TEST_F(SimStage1Test, FiveLevelsLeadToA4KiBPage) {
  TestPageTable table(ram_, kRam + (1 << 20), /*levels=*/5);
  const uint64_t address = uint64_t{0xab} << 48 | kAddress;
  table.Map(address, kTarget);
  stage1_.root = table.root();
  EXPECT_THAT(Walk(address, kRead, 57), LeadsTo(kTarget));
}

TEST_F(SimStage1Test, LargePagesLeadToThePageInside) {
  table_.Map(kLargePageSize, kRam + kLargePageSize, /*leaf_level=*/2);
  table_.Map(kHugePageSize, kHugePageSize, /*leaf_level=*/3);  // RAM begins at 1 GiB
  EXPECT_THAT(Walk(kLargePageSize + 5 * kPageSize), LeadsTo(kRam + kLargePageSize + 5 * kPageSize));
  EXPECT_THAT(Walk(kHugePageSize + 0x345678, kWrite), LeadsTo(kRam + 0x345000));
}

TEST_F(SimStage1Test, EachSizeIsReportedWithThePage) {
  table_.Map(kAddress, kTarget);
  table_.Map(kLargePageSize, kRam, 2);
  const auto small = std::get<SimTranslation>(Walk(kAddress));
  EXPECT_EQ(small.stage1_page, kAddress);
  EXPECT_EQ(small.stage1_page_size, kPageSize);
  const auto large = std::get<SimTranslation>(Walk(kLargePageSize + 3 * kPageSize));
  EXPECT_EQ(large.stage1_page, kLargePageSize);
  EXPECT_EQ(large.stage1_page_size, kLargePageSize);
}

TEST_F(SimStage1Test, AddressMustBeCanonical) {
  const uint64_t negative = 0xffff800000000000;
  table_.Map(negative, kTarget);
  EXPECT_THAT(Walk(negative), LeadsTo(kTarget));
  EXPECT_THAT(Walk(0x0000800000000000), Faults(uapi::IOMMU_FAULT_REASON_PTE_FETCH));
  EXPECT_THAT(Walk(uint64_t{1} << 48), Faults(uapi::IOMMU_FAULT_REASON_PTE_FETCH));
  EXPECT_THAT(Walk(uint64_t{1} << 56, kRead, 57), Faults(uapi::IOMMU_FAULT_REASON_PTE_FETCH));
}

TEST_F(SimStage1Test, EntryThatIsNotPresentFaultsAtItsLevel) {
  table_.Map(kAddress, kTarget);
  for (int level = 1; level <= 4; ++level) {
    uint64_t* entry = table_.Entry(kAddress, level);
    const uint64_t value = std::exchange(*entry, *entry & ~kTestPresent);
    EXPECT_THAT(Walk(kAddress), Faults(uapi::IOMMU_FAULT_REASON_PTE_FETCH, GuestAddressOf(entry)))
        << level;
    *entry = value;
  }
}

TEST_F(SimStage1Test, WriteNeedsTheRightAtEveryLevel) {
  table_.Map(kAddress, kTarget);
  const uint64_t leaf = GuestAddressOf(table_.Entry(kAddress, 1));
  for (int level = 1; level <= 4; ++level) {
    *table_.Entry(kAddress, level) &= ~kTestWritable;
    EXPECT_THAT(Walk(kAddress, kWrite), Faults(uapi::IOMMU_FAULT_REASON_PERMISSION, leaf)) << level;
    EXPECT_THAT(Walk(kAddress, kRead), LeadsTo(kTarget)) << level;
    *table_.Entry(kAddress, level) |= kTestWritable;
  }
}

TEST_F(SimStage1Test, UserRequestNeedsTheUserBitAtEveryLevel) {
  table_.Map(kAddress, kTarget);
  const uint64_t leaf = GuestAddressOf(table_.Entry(kAddress, 1));
  for (int level = 1; level <= 4; ++level) {
    *table_.Entry(kAddress, level) &= ~kTestUser;
    EXPECT_THAT(Walk(kAddress), Faults(uapi::IOMMU_FAULT_REASON_PERMISSION, leaf)) << level;
    *table_.Entry(kAddress, level) |= kTestUser;
  }
}

TEST_F(SimStage1Test, SupervisorRequestNeedsTheEntrysLeave) {
  table_.Map(kAddress, kTarget, 1, kTestPresent);
  EXPECT_THAT(Walk(kAddress, kPrivilegedRead), Faults(uapi::IOMMU_FAULT_REASON_PERMISSION));
  stage1_.supervisor_request = true;
  EXPECT_THAT(Walk(kAddress, kPrivilegedRead), LeadsTo(kTarget));
  EXPECT_THAT(Walk(kAddress, kPrivilegedWrite), LeadsTo(kTarget));  // no WPE in the series
}

TEST_F(SimStage1Test, ReservedBitsOfLargePagesFault) {
  const auto faults_with = [&](uint64_t address, int level, uint64_t bit) {
    uint64_t* entry = table_.Entry(address, level);
    *entry |= bit;
    EXPECT_THAT(Walk(address), Faults(uapi::IOMMU_FAULT_REASON_PTE_FETCH, GuestAddressOf(entry)));
    *entry &= ~bit;
  };
  table_.Map(kLargePageSize, kRam, 2);
  table_.Map(kHugePageSize, kHugePageSize, 3);
  faults_with(kLargePageSize, 2, uint64_t{1} << 13);
  faults_with(kLargePageSize, 2, uint64_t{1} << 20);
  faults_with(kHugePageSize, 3, uint64_t{1} << 29);
  *table_.Entry(kLargePageSize, 2) |= 1 << 12;  // the memory type, which is no address
  EXPECT_THAT(Walk(kLargePageSize), LeadsTo(kRam));
}

TEST_F(SimStage1Test, NoPageIsLargerThan1GiB) {
  uint64_t* entry = table_.Entry(kAddress, 4);
  *entry = kTestAllRights | kTestLargePage;
  EXPECT_THAT(Walk(kAddress), Faults(uapi::IOMMU_FAULT_REASON_PTE_FETCH, GuestAddressOf(entry)));
}

TEST_F(SimStage1Test, PagesOf1GiBNeedTheHardware) {
  table_.Map(kHugePageSize, kHugePageSize, 3);
  iommu_.first_level_1gib_pages = false;
  EXPECT_THAT(Walk(kHugePageSize), Faults(uapi::IOMMU_FAULT_REASON_PTE_FETCH,
                                          GuestAddressOf(table_.Entry(kHugePageSize, 3))));
}

TEST_F(SimStage1Test, TableOutsideStage2CannotBeFetched) {
  table_.Map(kAddress, kTarget);
  const uint64_t outside = kRam + kRamSize;
  *table_.Entry(kAddress, 3) = outside | kTestAllRights;
  const uint64_t index = (kAddress >> 21) % 512;
  EXPECT_THAT(Walk(kAddress), Faults(uapi::IOMMU_FAULT_REASON_WALK_EABT, outside + 8 * index));
}

TEST_F(SimStage1Test, PageOutsideStage2IsOutOfRange) {
  table_.Map(kAddress, kRam + kRamSize);
  EXPECT_THAT(Walk(kAddress), Faults(uapi::IOMMU_FAULT_REASON_OOR_ADDRESS));
}

TEST_F(SimStage1Test, Stage2HasItsOwnPermission) {
  constexpr uint64_t kReadOnly = 0x80000000;
  MapStage2(kReadOnly, kPageSize, /*writable=*/false);
  table_.Map(kAddress, kReadOnly);
  EXPECT_THAT(Walk(kAddress), LeadsTo(kReadOnly));
  EXPECT_THAT(Walk(kAddress, kWrite), Faults(uapi::IOMMU_FAULT_REASON_PERMISSION));
}

TEST_F(SimStage1Test, WalkMarksEntriesAsAccessedAndTheLeafAsDirty) {
  table_.Map(kAddress, kTarget);
  EXPECT_FALSE(std::get<SimTranslation>(Walk(kAddress)).dirty);
  for (int level = 1; level <= 4; ++level) {
    EXPECT_EQ(*table_.Entry(kAddress, level) & (kTestAccessed | kTestDirty), kTestAccessed);
  }
  EXPECT_TRUE(std::get<SimTranslation>(Walk(kAddress, kWrite)).dirty);
  EXPECT_EQ(*table_.Entry(kAddress, 1) & kTestDirty, kTestDirty);
  EXPECT_EQ(*table_.Entry(kAddress, 2) & (kTestDirty | kTestExtendedAccessed), 0U);
}

TEST_F(SimStage1Test, ExtendedAccessedFlagIsSetWhenTheEntrySaysSo) {
  table_.Map(kAddress, kTarget);
  stage1_.extended_accessed_flag = true;
  Walk(kAddress);
  EXPECT_EQ(*table_.Entry(kAddress, 1) & kTestExtendedAccessed, kTestExtendedAccessed);
  EXPECT_EQ(*table_.Entry(kAddress, 4) & kTestExtendedAccessed, kTestExtendedAccessed);
}

TEST_F(SimStage1Test, RefusedWalkMarksNothing) {
  table_.Map(kAddress, kTarget, 1, kTestPresent | kTestUser);
  EXPECT_THAT(Walk(kAddress, kWrite), VariantWith<SimTranslationFault>(::testing::_));
  EXPECT_EQ(*table_.Entry(kAddress, 4) & kTestAccessed, 0U);
}

TEST_F(SimStage1Test, TableInReadOnlyStage2CannotBeMarked) {
  // The RAM once more, read-only, below 1 GiB: the same tables by another address.
  constexpr uint64_t kAlias = 0x10000000;
  MapStage2(kAlias, kRamSize, /*writable=*/false);
  table_.Map(kAddress, kTarget);
  stage1_.root = kAlias;
  const auto walk = [&] { return WalkStage1(iommu_, memory_, stage2_, stage1_, kAddress, kRead); };
  const uint64_t root_entry = kAlias + 8 * (kAddress >> 39);
  EXPECT_THAT(walk(), Faults(uapi::IOMMU_FAULT_REASON_WALK_EABT, root_entry));
  *table_.Entry(kAddress, 4) |= kTestAccessed;
  EXPECT_THAT(walk(), LeadsTo(kTarget));
}

}  // namespace
}  // namespace nestor::kernel
