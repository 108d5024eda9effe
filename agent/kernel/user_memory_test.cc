#include "agent/kernel/user_memory.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
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

// A child with the same pages at the same addresses, which waits to be killed or for a byte.
class OtherUserMemoryTest : public UserMemoryTest {
 protected:
  OtherUserMemoryTest() {
    EXPECT_EQ(pipe2(commands_, O_CLOEXEC), 0);
    EXPECT_EQ(pipe2(executed_, O_CLOEXEC), 0);
    child_ = fork();
    if (child_ != 0) {
      close(executed_[1]);
      return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pages_[0] = 'c';
    char byte = static_cast<char>(write(executed_[1], "r", 1));
    static_cast<void>(read(commands_[0], &byte, 1));
    execl("/bin/sleep", "sleep", "600", nullptr);
    _exit(1);
  }
  ~OtherUserMemoryTest() override {
    Kill();
    for (const int fd : {commands_[0], commands_[1], executed_[0]}) close(fd);
  }

  // Waits until it runs, or until it is another program.
  ssize_t AwaitChild() {
    char byte;
    return read(executed_[0], &byte, 1);
  }
  void Kill() {
    if (child_ <= 0) return;
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    child_ = -1;
  }

  int commands_[2];
  int executed_[2];
  pid_t child_;
};

TEST_F(OtherUserMemoryTest, IsReadAndWrittenAsTheProcessItselfMay) {
  ASSERT_EQ(AwaitChild(), 1);
  UserMemory other(0);
  ASSERT_EQ(UserMemory::Open(child_, &other), 0);
  char byte = 0;
  ASSERT_TRUE(other.Read(At(0), &byte));
  EXPECT_EQ(byte, 'c');
  EXPECT_TRUE(other.Write(At(1), byte));
  EXPECT_FALSE(other.Write(At(kPageSize), byte));  // read-only, also for whoever may trace it
  EXPECT_EQ(pages_[0], 'x');
  EXPECT_TRUE(other.IsMapped(At(0), kPageSize, true));
  EXPECT_FALSE(other.IsMapped(At(kPageSize), kPageSize, true));
}

TEST_F(OtherUserMemoryTest, IsGoneWithItsProcess) {
  ASSERT_EQ(AwaitChild(), 1);
  UserMemory other(0);
  ASSERT_EQ(UserMemory::Open(child_, &other), 0);
  const pid_t pid = child_;
  Kill();
  char byte = 0;
  EXPECT_FALSE(other.IsAlive());
  EXPECT_FALSE(other.Read(At(0), &byte));
  EXPECT_FALSE(other.IsMapped(At(0), kPageSize, false));
  EXPECT_EQ(UserMemory::Open(pid, &other), -ENOENT);
}

TEST_F(OtherUserMemoryTest, IsGoneWhenItsProcessBecomesAnotherProgram) {
  ASSERT_EQ(AwaitChild(), 1);
  UserMemory other(0);
  ASSERT_EQ(UserMemory::Open(child_, &other), 0);
  ASSERT_EQ(write(commands_[1], "e", 1), 1);
  ASSERT_EQ(AwaitChild(), 0);  // execve has closed its end
  EXPECT_FALSE(other.IsAlive());
  UserMemory next(0);
  EXPECT_EQ(UserMemory::Open(child_, &next), 0);
  EXPECT_TRUE(next.IsAlive());
}

}  // namespace
}  // namespace nestor::kernel
