#include "tests/guest/page_table_builder.h"

#include "gtest/gtest.h"

namespace nestor::guest {
namespace {

constexpr uint64_t kRamSize = 16 << 20;
constexpr uint64_t kPoolBegin = 8 << 20;
constexpr AddressSpaceRoot kRoot{0x100000, 4};
constexpr AddressSpaceRoot kRoot5{0x200000, 5};
constexpr uint64_t kVirtual = 0x7f12'3456'7000;
// Present, writable, user, accessed, dirty.
constexpr uint64_t kLeafBits = 0x67;
// Present, writable, user, accessed.
constexpr uint64_t kTableBits = 0x27;

class PageTableBuilderTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(builder_.CreateRoot(kRoot).ok());
    ASSERT_TRUE(builder_.CreateRoot(kRoot5).ok());
  }

  uint64_t Entry(uint64_t table, uint64_t index) {
    return memory_.ReadEntry(table + index * 8).value();
  }
  // The table that an entry points to, which must have a table's bits and nothing else.
  uint64_t Table(uint64_t table, uint64_t index) {
    const uint64_t entry = Entry(table, index);
    EXPECT_EQ(entry & 0xfff, kTableBits);
    return entry & ~uint64_t{0xfff};
  }

  GuestMemory memory_ = GuestMemory::Create(kRamSize).value();
  PageTableBuilder builder_{memory_, kPoolBegin, kRamSize};
};

TEST_F(PageTableBuilderTest, FourKilobytePageStandsInTheFourthTable) {
  ASSERT_TRUE(builder_.Map(kRoot, kVirtual, 0x5000).ok());
  // The nine-bit fields of kVirtual.
  const uint64_t level1 = Table(Table(Table(kRoot.root, 0xfe), 0x48), 0x1a2);
  EXPECT_EQ(Entry(level1, 0x167), 0x5000 | kLeafBits);
}

TEST_F(PageTableBuilderTest, FiveLevelsHaveOneTableMore) {
  ASSERT_TRUE(builder_.Map(kRoot5, 0x00ab'7f12'3456'7000, 0x5000).ok());
  const uint64_t level4 = Table(kRoot5.root, 0xab);
  const uint64_t level1 = Table(Table(Table(level4, 0xfe), 0x48), 0x1a2);
  EXPECT_EQ(Entry(level1, 0x167), 0x5000 | kLeafBits);
}

TEST_F(PageTableBuilderTest, LargePagesEndTheWalkEarly) {
  ASSERT_TRUE(builder_.Map(kRoot, 0x7f12'3440'0000, 0x20'0000, PageSize::k2M).ok());
  ASSERT_TRUE(builder_.Map(kRoot, 0x7f12'4000'0000, 0x4000'0000, PageSize::k1G).ok());
  const uint64_t level3 = Table(kRoot.root, 0xfe);
  EXPECT_EQ(Entry(Table(level3, 0x48), 0x1a2), 0x20'0000 | kLeafBits | kEntryLargePage);
  EXPECT_EQ(Entry(level3, 0x49), 0x4000'0000 | kLeafBits | kEntryLargePage);
}

TEST_F(PageTableBuilderTest, PermissionsAreTheLeafsOnly) {
  ASSERT_TRUE(builder_.Map(kRoot, kVirtual, 0x5000, PageSize::k4K, 0).ok());
  const uint64_t leaf = builder_.LeafEntryAddress(kRoot, kVirtual).value();
  EXPECT_EQ(memory_.ReadEntry(leaf).value(), 0x5000 | kEntryPresent | kEntryAccessed | kEntryDirty);
  EXPECT_EQ(Entry(kRoot.root, 0xfe) & 0xfff, kTableBits);
}

TEST_F(PageTableBuilderTest, NeighboursShareTheirTables) {
  ASSERT_TRUE(builder_.Map(kRoot, kVirtual, 0x5000).ok());
  const uint64_t next_page = builder_.AllocatePage().value();
  ASSERT_TRUE(builder_.Map(kRoot, kVirtual + 0x1000, 0x6000).ok());
  EXPECT_EQ(builder_.AllocatePage().value(), next_page + 0x1000);
}

TEST_F(PageTableBuilderTest, RootsAreApart) {
  constexpr AddressSpaceRoot kOther{0x101000, 4};
  ASSERT_TRUE(builder_.CreateRoot(kOther).ok());
  ASSERT_TRUE(builder_.Map(kRoot, kVirtual, 0x5000).ok());
  EXPECT_EQ(builder_.LeafEntryAddress(kOther, kVirtual).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(PageTableBuilderTest, MappedAgainReplacesAndUnmappedIsNotPresent) {
  ASSERT_TRUE(builder_.Map(kRoot, kVirtual, 0x5000).ok());
  const uint64_t leaf = builder_.LeafEntryAddress(kRoot, kVirtual).value();
  ASSERT_TRUE(builder_.Map(kRoot, kVirtual, 0x6000).ok());
  EXPECT_EQ(memory_.ReadEntry(leaf).value(), 0x6000 | kLeafBits);
  ASSERT_TRUE(builder_.Unmap(kRoot, kVirtual).ok());
  EXPECT_EQ(memory_.ReadEntry(leaf).value(), 0u);
  EXPECT_EQ(builder_.Unmap(kRoot, kVirtual).code(), absl::StatusCode::kNotFound);
}

TEST_F(PageTableBuilderTest, PagesOfAnotherSizeAreNotReplaced) {
  ASSERT_TRUE(builder_.Map(kRoot, 0x20'0000, 0x20'0000, PageSize::k2M).ok());
  EXPECT_EQ(builder_.Map(kRoot, 0x20'1000, 0x5000).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(builder_.Map(kRoot, 0x40'0000, 0x5000).ok());
  EXPECT_EQ(builder_.Map(kRoot, 0x40'0000, 0x40'0000, PageSize::k2M).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(PageTableBuilderTest, AddressesThatCannotBeMappedAreRefused) {
  EXPECT_FALSE(builder_.Map(kRoot, 0x8000'0000'0000, 0x5000).ok()) << "not canonical";
  EXPECT_TRUE(builder_.Map(kRoot, 0xffff'8000'0000'0000, 0x5000).ok());
  EXPECT_TRUE(builder_.Map(kRoot5, 0x8000'0000'0000, 0x5000).ok()) << "canonical in 57 bits";
  EXPECT_FALSE(builder_.Map(kRoot5, 0x0100'0000'0000'0000, 0x5000).ok());
  EXPECT_FALSE(builder_.Map(kRoot, kVirtual + 1, 0x5000).ok());
  EXPECT_FALSE(builder_.Map(kRoot, kVirtual, 0x5001).ok());
  EXPECT_FALSE(builder_.Map(kRoot, 0x1000, 0x20'0000, PageSize::k2M).ok());
}

TEST_F(PageTableBuilderTest, RootsThatCannotBeAreRefused) {
  EXPECT_EQ(builder_.CreateRoot({0x100001, 4}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(builder_.CreateRoot({0x100000, 3}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(builder_.CreateRoot({kPoolBegin, 4}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(builder_.CreateRoot({kRamSize, 4}).code(), absl::StatusCode::kOutOfRange);
}

TEST_F(PageTableBuilderTest, EmptyPoolIsSaid) {
  PageTableBuilder small(memory_, kPoolBegin, kPoolBegin + 2 * 4096);
  ASSERT_TRUE(small.CreateRoot({0x300000, 4}).ok());
  EXPECT_EQ(small.Map({0x300000, 4}, kVirtual, 0x5000).code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace nestor::guest
