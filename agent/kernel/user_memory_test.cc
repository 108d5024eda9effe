#include "agent/kernel/user_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

constexpr uint64_t kPageSize = 4096;

// Four pages: writable, read-only, not accessible, writable.
class UserMemoryTest : public ::testing::Test {
 protected:
  UserMemoryTest() {
    void* address =
        mmap(nullptr, 4 * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pages_ = static_cast<char*>(address);
    std::memset(pages_, 'x', 4 * kPageSize);
    mprotect(pages_ + kPageSize, kPageSize, PROT_READ);
    mprotect(pages_ + 2 * kPageSize, kPageSize, PROT_NONE);
  }
  ~UserMemoryTest() override { munmap(pages_, 4 * kPageSize); }

  uint64_t At(size_t offset) const { return reinterpret_cast<uint64_t>(pages_) + offset; }

  char* pages_;
  UserMemory memory_{getpid()};
};

TEST_F(UserMemoryTest, WrittenValueIsReadBack) {
  ASSERT_TRUE(memory_.Write(At(8), uint64_t{42}));
  uint64_t value = 0;
  ASSERT_TRUE(memory_.Read(At(8), &value));
  EXPECT_EQ(value, 42U);
}

TEST_F(UserMemoryTest, BadAddressIsAnAnswerAndNoSignal) {
  uint64_t value = 0;
  EXPECT_FALSE(memory_.Read(0, &value));
  EXPECT_FALSE(memory_.Read(~uint64_t{0}, &value));
  EXPECT_FALSE(memory_.Read(At(2 * kPageSize - 4), &value));
  EXPECT_FALSE(memory_.Write(At(kPageSize), value));
}

TEST_F(UserMemoryTest, StringEndsAtItsZeroEvenBeforeAMissingPage) {
  std::strcpy(pages_, "0000:01:00.0");
  std::string text;
  EXPECT_EQ(memory_.ReadString(At(0), 4096, &text), 0);
  EXPECT_EQ(text, "0000:01:00.0");
  pages_[kPageSize - 1] = '\0';
  EXPECT_EQ(memory_.ReadString(At(kPageSize - 3), 4096, &text), 0);
  EXPECT_EQ(text, "xx");
}

TEST_F(UserMemoryTest, StringThatIsTooLongOrRunsIntoNothingIsRefused) {
  std::string text;
  EXPECT_EQ(memory_.ReadString(At(0), 100, &text), -EINVAL);
  EXPECT_EQ(memory_.ReadString(At(kPageSize), 2 * kPageSize, &text), -EFAULT);
}

TEST_F(UserMemoryTest, RangeIsMappedWhenAllItsPagesAre) {
  EXPECT_TRUE(memory_.IsMapped(At(0), kPageSize, true));
  EXPECT_TRUE(memory_.IsMapped(At(0), 2 * kPageSize, false));
  EXPECT_FALSE(memory_.IsMapped(At(0), 2 * kPageSize, true));
  EXPECT_FALSE(memory_.IsMapped(At(0), 4 * kPageSize, false));
  EXPECT_FALSE(memory_.IsMapped(0, kPageSize, false));
  EXPECT_FALSE(memory_.IsMapped(~(kPageSize - 1), kPageSize, false));
}

}  // namespace
}  // namespace nestor::kernel
