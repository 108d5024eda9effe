#include "agent/shim/fence_keeper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/core/kernel_error.h"

namespace nestor::agent {
namespace {

v1::Fence Fence(const std::string& incarnation, int64_t epoch, int64_t head_revision) {
  v1::Fence fence;
  fence.set_incarnation(incarnation);
  fence.set_epoch(epoch);
  fence.set_head_revision(head_revision);
  return fence;
}

class FenceKeeperTest : public ::testing::Test {
 protected:
  FenceKeeperTest() { keeper_.Keep(Fence("store-1", 5, 100)); }
  FenceKeeper keeper_;
};

TEST(FenceKeeperNewTest, FirstFenceIsAccepted) {
  EXPECT_TRUE(FenceKeeper().Check(Fence("store-1", 1, 1)).ok());
}

TEST(FenceKeeperNewTest, IncompleteFenceIsInvalid) {
  const FenceKeeper keeper;
  EXPECT_EQ(keeper.Check(Fence("", 1, 1)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(keeper.Check(Fence("store-1", 0, 1)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(keeper.Check(Fence("store-1", 1, 0)).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(FenceKeeperTest, EqualFenceIsAccepted) {
  EXPECT_TRUE(keeper_.Check(Fence("store-1", 5, 100)).ok());
}

TEST_F(FenceKeeperTest, HigherEpochOrRevisionIsAccepted) {
  EXPECT_TRUE(keeper_.Check(Fence("store-1", 6, 100)).ok());
  EXPECT_TRUE(keeper_.Check(Fence("store-1", 5, 101)).ok());
}

TEST_F(FenceKeeperTest, LowerEpochIsStaleEvenWithAHigherRevision) {
  const absl::Status status = keeper_.Check(Fence("store-1", 4, 200));
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(GetReason(status), "STALE_FENCE");
}

TEST_F(FenceKeeperTest, LowerRevisionAtTheSameEpochIsStale) {
  EXPECT_EQ(GetReason(keeper_.Check(Fence("store-1", 5, 99))), "STALE_FENCE");
}

TEST_F(FenceKeeperTest, LowerRevisionAtAHigherEpochIsStale) {
  EXPECT_EQ(GetReason(keeper_.Check(Fence("store-1", 6, 99))), "STALE_FENCE");
}

TEST_F(FenceKeeperTest, OtherIncarnationIsHeldWhateverItsNumbers) {
  const absl::Status status = keeper_.Check(Fence("store-2", 900, 900));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetReason(status), "HOLD");
}

}  // namespace
}  // namespace nestor::agent
