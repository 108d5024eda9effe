#include "agent/kernel/sim_physical_memory.h"

#include <unistd.h>

#include "agent/kernel/test_page_table.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

constexpr uint64_t kSize = 8192;

class SimPhysicalMemoryTest : public ::testing::Test {
 protected:
  const TestRam ram_{0, kSize};
  SimPhysicalMemory memory_;
  const uint64_t frame_ = memory_.Pin(UserMemory(getpid()), ram_.user_address(), kSize);
};

TEST_F(SimPhysicalMemoryTest, FramesAreTheOwnersPages) {
  ASSERT_TRUE(memory_.Write(frame_ + 4094, "text", 4));
  EXPECT_EQ(ram_.Read(4094, 4), "text");
}

TEST_F(SimPhysicalMemoryTest, NothingIsBeforeOrBehindThePinnedFrames) {
  uint64_t value = 0;
  EXPECT_FALSE(memory_.Read(frame_ - 1, &value, 1));
  EXPECT_TRUE(memory_.Read(frame_ + kSize - 8, &value, 8));
  EXPECT_FALSE(memory_.Read(frame_ + kSize - 7, &value, 8));
  EXPECT_FALSE(memory_.Read(frame_ + kSize, &value, 1));
}

TEST_F(SimPhysicalMemoryTest, UnpinnedFramesAreNeverGivenAgain) {
  memory_.Unpin(frame_);
  EXPECT_FALSE(memory_.Write(frame_, "text", 4));
  EXPECT_GE(memory_.Pin(UserMemory(getpid()), ram_.user_address(), kSize), frame_ + kSize);
  EXPECT_EQ(memory_.pins(), 1);
}

}  // namespace
}  // namespace nestor::kernel
