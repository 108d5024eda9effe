#include "agent/vmm/memory_table.h"

#include "agent/vmm/vfio_user_protocol.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr MemoryPiece kLow{0x1000, 0x2000, true};
constexpr MemoryPiece kHigh{0x8000, 0x1000, false};

MemoryTable TwoPieces() {
  MemoryTable table;
  table.Add(kHigh);
  table.Add(kLow);
  return table;
}

TEST(MemoryTableCheckTest, NeighboursDoNotOverlap) {
  const MemoryTable table = TwoPieces();
  EXPECT_TRUE(table.Check({0x0, 0x1000}).ok());
  EXPECT_TRUE(table.Check({0x3000, 0x5000}).ok());
  EXPECT_TRUE(table.Check({0x9000, 0x1000}).ok());
}

TEST(MemoryTableCheckTest, AnySharedByteIsAnOverlap) {
  const MemoryTable table = TwoPieces();
  for (const MemoryPiece& piece : {MemoryPiece{0x1000, 0x2000},  // the same
                                   MemoryPiece{0x2000, 0x1000},  // inside
                                   MemoryPiece{0x0, 0x2000},     // its first page
                                   MemoryPiece{0x2000, 0x2000},  // its last page
                                   MemoryPiece{0x0, 0x10000}}) {
    EXPECT_EQ(table.Check(piece).code(), absl::StatusCode::kAlreadyExists) << piece.address;
  }
}

TEST(MemoryTableCheckTest, WhatIsNotWholePagesIsRefused) {
  const MemoryTable table;
  EXPECT_EQ(table.Check({0x1001, 0x1000}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(table.Check({0x1000, 0x1001}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(table.Check({0x1000, 0}).code(), absl::StatusCode::kInvalidArgument);
}

TEST(MemoryTableCheckTest, TheLastPageFitsAndBeyondItNothing) {
  const MemoryTable table;
  const uint64_t last_page = ~uint64_t{0xfff};
  EXPECT_TRUE(table.Check({last_page, 0x1000}).ok());
  EXPECT_EQ(table.Check({last_page, 0x2000}).code(), absl::StatusCode::kInvalidArgument);
}

TEST(MemoryTableCheckTest, AFullTableTakesNoMore) {
  MemoryTable table;
  for (uint64_t i = 0; i < vfio_user::kMaxDmaMaps; ++i) table.Add({i * 0x1000, 0x1000});
  EXPECT_EQ(table.Check({vfio_user::kMaxDmaMaps * 0x1000, 0x1000}).code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(MemoryTableWithinTest, FindsWholePiecesInOrder) {
  const MemoryTable table = TwoPieces();
  EXPECT_THAT(table.Within(0x1000, 0x2000).value(), ElementsAre(kLow));
  EXPECT_THAT(table.Within(0, 0x10000).value(), ElementsAre(kLow, kHigh));
}

TEST(MemoryTableWithinTest, NothingThereIsFine) {
  const MemoryTable table = TwoPieces();
  EXPECT_THAT(table.Within(0x3000, 0x5000).value(), IsEmpty());
  EXPECT_THAT(table.Within(uint64_t{1} << 40, uint64_t{1} << 47).value(), IsEmpty());
}

TEST(MemoryTableWithinTest, CuttingAPieceIsRefused) {
  const MemoryTable table = TwoPieces();
  EXPECT_FALSE(table.Within(0x1000, 0x1000).ok()) << "its end stays";
  EXPECT_FALSE(table.Within(0x2000, 0x1000).ok()) << "its begin stays";
  EXPECT_FALSE(table.Within(0x2000, 0x8000).ok()) << "and another is whole";
}

TEST(MemoryTableWithinTest, AnEmptyOrWrappingRangeIsRefused) {
  const MemoryTable table = TwoPieces();
  EXPECT_FALSE(table.Within(0x1000, 0).ok());
  EXPECT_FALSE(table.Within(0x1000, ~uint64_t{0}).ok());
}

TEST(MemoryTableTest, RemovedPiecesAreGone) {
  MemoryTable table = TwoPieces();
  table.Remove(kLow.address);
  EXPECT_THAT(table.All(), ElementsAre(kHigh));
  EXPECT_TRUE(table.Check(kLow).ok());
}

}  // namespace
}  // namespace nestor::agent
