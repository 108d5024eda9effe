#include "server/core/pasid_index.h"

#include <gtest/gtest.h>

#include <utility>

namespace nestor::server {
namespace {

constexpr char kDevice[] = "0000:3b:00.0";
constexpr char kOtherDevice[] = "0000:5e:00.0";
constexpr char kAnyDevice[] = "";

PasidIndex With(std::initializer_list<std::pair<const char*, uint32_t>> claims) {
  PasidIndex index;
  for (const auto& [bdf, pasid] : claims) index.Insert(bdf, pasid, {"holder", 1});
  return index;
}

TEST(PasidIndex, ClaimIsFoundOnItsDeviceOnly) {
  PasidIndex index;
  index.Insert(kDevice, 7, {"a", 5});
  EXPECT_EQ(index.Find(kDevice, 7).holder, "a");
  EXPECT_EQ(index.Find(kDevice, 7).revision, 5);
  EXPECT_EQ(index.Find(kOtherDevice, 7).holder, "");
  EXPECT_EQ(index.Find(kDevice, 8).revision, 0);
}

TEST(PasidIndex, ErasedClaimLeavesTheOtherDevicesClaim) {
  PasidIndex index = With({{kDevice, 7}, {kOtherDevice, 7}});
  index.Erase(kDevice, 7);
  EXPECT_EQ(index.Find(kDevice, 7).holder, "");
  EXPECT_EQ(index.Find(kOtherDevice, 7).holder, "holder");
  index.Erase(kDevice, 7);
  index.Erase(kOtherDevice, 7);
  EXPECT_EQ(index.NextFree(kAnyDevice, 7, PasidIndex()), 7u);
}

TEST(PasidIndex, HoldersOfOneMachineAreToldApart) {
  PasidIndex index;
  index.Insert(kDevice, 1, {"machines/m/bindings/a", 1});
  index.Insert(kDevice, 2, {"machines/m/bindings/b", 2});
  index.Insert(kDevice, 1, {"machines/n/bindings/a", 3});
  EXPECT_EQ(index.Find(kDevice, 1).holder, "machines/n/bindings/a");
  EXPECT_EQ(index.Find(kDevice, 1).revision, 3);
  index.Erase(kDevice, 1);
  EXPECT_EQ(index.Find(kDevice, 1).holder, "");
  EXPECT_EQ(index.Find(kDevice, 2).holder, "machines/m/bindings/b");
}

TEST(PasidIndex, MovedIndexStillKnowsItsHolders) {
  PasidIndex index;
  index.Insert(kDevice, 1, {"machines/m/bindings/a", 1});
  PasidIndex moved = std::move(index);
  EXPECT_EQ(moved.Find(kDevice, 1).holder, "machines/m/bindings/a");
  moved.Erase(kDevice, 1);
  EXPECT_EQ(moved.NextFree(kAnyDevice, 1, PasidIndex()), 1u);
}

TEST(PasidIndex, NextFreeIsTheFirstGap) {
  const PasidIndex index = With({{kDevice, 1}, {kDevice, 2}, {kDevice, 4}});
  EXPECT_EQ(index.NextFree(kDevice, 1, PasidIndex()), 3u);
  EXPECT_EQ(index.NextFree(kDevice, 4, PasidIndex()), 5u);
  EXPECT_EQ(index.NextFree(kDevice, 9, PasidIndex()), 9u);
}

TEST(PasidIndex, NextFreeOnTheHostAvoidsEveryDevice) {
  const PasidIndex index = With({{kDevice, 1}, {kOtherDevice, 2}});
  EXPECT_EQ(index.NextFree(kDevice, 1, PasidIndex()), 2u);
  EXPECT_EQ(index.NextFree(kOtherDevice, 1, PasidIndex()), 1u);
  EXPECT_EQ(index.NextFree(kAnyDevice, 1, PasidIndex()), 3u);
}

TEST(PasidIndex, ReleasedClaimCountsAsFreeWhereNobodyElseHoldsThePasid) {
  const PasidIndex index = With({{kDevice, 1}, {kDevice, 2}, {kOtherDevice, 1}});
  EXPECT_EQ(index.NextFree(kDevice, 1, With({{kDevice, 1}})), 1u);
  EXPECT_EQ(index.NextFree(kAnyDevice, 1, With({{kDevice, 1}})), 3u);
  EXPECT_EQ(index.NextFree(kAnyDevice, 1, With({{kDevice, 1}, {kOtherDevice, 1}})), 1u);
}

}  // namespace
}  // namespace nestor::server
