#include "agent/kernel/shared_mapping.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "agent/kernel/sim_physical_memory.h"
#include "api/support/file_descriptor.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kSize = 4 * kPage;

// A child that has the test's memory and descriptors as they were when it began.
class Child {
 public:
  Child() : pid_(fork()) {
    while (pid_ == 0) pause();
  }
  ~Child() { Kill(); }
  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

class SharedMappingTest : public ::testing::Test {
 protected:
  SharedMappingTest() : file_(memfd_create("guest", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(file_.get(), kSize), 0);
  }
  ~SharedMappingTest() override { munmap(bytes_, kSize); }

  uint64_t Map(int flags) {
    const int fd = (flags & MAP_ANONYMOUS) != 0 ? -1 : file_.get();
    bytes_ = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, flags, fd, 0);
    return reinterpret_cast<uint64_t>(bytes_);
  }

  const FileDescriptor file_;
  void* bytes_ = nullptr;
};

TEST_F(SharedMappingTest, PinnedMemoryOutlivesTheProcessThatMappedIt) {
  const uint64_t address = Map(MAP_SHARED);
  Child child;
  UserMemory owner(0);
  ASSERT_EQ(UserMemory::Open(child.pid(), &owner), 0);
  SimPhysicalMemory memory;
  const uint64_t frame = memory.Pin(owner, address + kPage, kPage);
  child.Kill();
  ASSERT_TRUE(memory.Write(frame + 8, "text", 4));
  EXPECT_EQ(std::string(static_cast<char*>(bytes_) + kPage + 8, 4), "text");
}

TEST_F(SharedMappingTest, PrivateMemoryHasNone) {
  const uint64_t address = Map(MAP_PRIVATE | MAP_ANONYMOUS);
  const Child child;
  EXPECT_EQ(SharedMapping::Of(child.pid(), address, kSize), nullptr);
}

TEST_F(SharedMappingTest, RangeThatIsNotAllMappedHasNone) {
  const uint64_t address = Map(MAP_SHARED);
  const Child child;
  EXPECT_NE(SharedMapping::Of(child.pid(), address, kSize), nullptr);
  EXPECT_EQ(SharedMapping::Of(child.pid(), address, kSize + kPage), nullptr);
}

}  // namespace
}  // namespace nestor::kernel
