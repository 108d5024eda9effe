#include "agent/shim/guest_memory_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kA[] = "0000:3b:00.0";
constexpr char kB[] = "0000:3b:00.1";

MemoryRegion Region(uint64_t guest_address, uint64_t size) {
  return {.guest_address = guest_address, .size = size, .user_address = 0x7000'0000};
}

TEST(GuestMemoryTableTest, AddedRegionIsWantedOnItsDeviceOnly) {
  GuestMemoryTable table;
  ASSERT_TRUE(table.Add(kA, Region(0, 0x1000)).ok());
  EXPECT_THAT(table.Wanted(kA), ElementsAre(Region(0, 0x1000)));
  EXPECT_TRUE(table.IsWanted(kA, Region(0, 0x1000)));
  EXPECT_THAT(table.Wanted(kB), IsEmpty());
}

TEST(GuestMemoryTableTest, RecordedRegionIsNotWantedButKeepsItsPlace) {
  GuestMemoryTable table;
  ASSERT_TRUE(table.Record(kA, Region(0, 0x1000), absl::OkStatus()).ok());
  EXPECT_THAT(table.Wanted(kA), IsEmpty());
  EXPECT_EQ(table.Add(kA, Region(0, 0x1000)).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(table.Problem().ok());
}

TEST(GuestMemoryTableTest, ProblemStaysUntilItsRegionGoes) {
  GuestMemoryTable table;
  ASSERT_TRUE(table.Record(kA, Region(0, 0x1000), absl::InternalError("mmap")).ok());
  EXPECT_EQ(table.Problem(), absl::InternalError("mmap"));
  ASSERT_TRUE(table.Remove(kA, 0, 0x1000).ok());
  EXPECT_TRUE(table.Problem().ok());
}

TEST(GuestMemoryTableTest, OverlapIsRefusedFromEitherSide) {
  GuestMemoryTable table;
  ASSERT_TRUE(table.Add(kA, Region(0x2000, 0x2000)).ok());
  for (const MemoryRegion& overlapping : {Region(0x1000, 0x2000), Region(0x3000, 0x1000),
                                          Region(0x3000, 0x8000), Region(0x1000, 0x8000)}) {
    EXPECT_EQ(table.Add(kA, overlapping).code(), absl::StatusCode::kAlreadyExists);
  }
  EXPECT_TRUE(table.Add(kA, Region(0x1000, 0x1000)).ok());
  EXPECT_TRUE(table.Add(kA, Region(0x4000, 0x1000)).ok());
  EXPECT_TRUE(table.Add(kB, Region(0x2000, 0x1000)).ok());
}

TEST(GuestMemoryTableTest, ImpossiblePlaceIsInvalid) {
  GuestMemoryTable table;
  for (const MemoryRegion& bad :
       {Region(0, 0), Region(1, 0x1000), Region(0, 0x1001), Region(~uint64_t{0} - 0xfff, 0x2000)}) {
    EXPECT_EQ(table.Add(kA, bad).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(table.Add(kA, Region(~uint64_t{0} - 0xfff, 0x1000)).ok());
}

TEST(GuestMemoryTableTest, RemoveTakesExactlyTheRegion) {
  GuestMemoryTable table;
  ASSERT_TRUE(table.Add(kA, Region(0x2000, 0x2000)).ok());
  EXPECT_EQ(table.Remove(kA, 0x2000, 0x1000).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(table.Remove(kA, 0x3000, 0x1000).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(table.Remove(kA, 0x2000, 0x2000).value(), Region(0x2000, 0x2000));
  EXPECT_THAT(table.Wanted(kA), IsEmpty());
}

TEST(GuestMemoryTableTest, ClearForgetsOneDevice) {
  GuestMemoryTable table;
  ASSERT_TRUE(table.Add(kA, Region(0, 0x1000)).ok());
  ASSERT_TRUE(table.Add(kB, Region(0, 0x1000)).ok());
  table.Clear(kA);
  EXPECT_FALSE(table.IsWanted(kA, Region(0, 0x1000)));
  EXPECT_TRUE(table.IsWanted(kB, Region(0, 0x1000)));
}

}  // namespace
}  // namespace nestor::agent
