#include "agent/kernel/linux_syscalls.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "agent/kernel/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::SizeIs;

class LinuxSyscallsTest : public ::testing::Test {
 protected:
  LinuxSyscallsTest() {
    std::string pattern = "/tmp/nestor-linux-syscalls-XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~LinuxSyscallsTest() override { std::filesystem::remove_all(directory_); }

  std::string MakeFile(const std::string& name, const std::string& content) const {
    std::string path = directory_ + "/" + name;
    std::ofstream(path) << content;
    return path;
  }

  std::string directory_;
  LinuxSyscalls syscalls_;
};

TEST_F(LinuxSyscallsTest, OpenedDescriptorIsNotInherited) {
  const UniqueFd fd(syscalls_, syscalls_.Open("/dev/null", O_RDWR));
  ASSERT_TRUE(fd.valid());
  EXPECT_EQ(fcntl(fd.get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(LinuxSyscallsTest, ErrorsAreNegativeErrnos) {
  std::string text;
  std::vector<std::string> names;
  EXPECT_EQ(syscalls_.Open(directory_ + "/none", O_RDONLY), -ENOENT);
  EXPECT_EQ(syscalls_.Close(-1), -EBADF);
  EXPECT_EQ(syscalls_.Ioctl(-1, uapi::VFIO_GET_API_VERSION, 0), -EBADF);
  EXPECT_EQ(syscalls_.Pread(-1, nullptr, 1, 0), -EBADF);
  EXPECT_EQ(syscalls_.Pwrite(-1, nullptr, 1, 0), -EBADF);
  EXPECT_EQ(syscalls_.Mmap(4096, PROT_READ, MAP_SHARED, -1, 0), -EBADF);
  EXPECT_EQ(syscalls_.Munmap(1, 4096), -EINVAL);
  EXPECT_EQ(syscalls_.Readlink(directory_, &text), -EINVAL);
  EXPECT_EQ(syscalls_.Readdir(directory_ + "/none", &names), -ENOENT);
  EXPECT_EQ(syscalls_.ReadFile(directory_, &text), -EISDIR);
  EXPECT_EQ(syscalls_.WriteFile(directory_ + "/none", "text"), -ENOENT);
}

TEST_F(LinuxSyscallsTest, IoctlOnAForeignFileIsNotATypewriter) {
  const UniqueFd fd(syscalls_, syscalls_.Open("/dev/null", O_RDWR));
  EXPECT_EQ(syscalls_.Ioctl(fd.get(), uapi::VFIO_GET_API_VERSION, 0), -ENOTTY);
}

TEST_F(LinuxSyscallsTest, ReadsAndWritesAtOffsets) {
  const UniqueFd fd(syscalls_, syscalls_.Open(MakeFile("file", "0123456789"), O_RDWR));
  EXPECT_EQ(syscalls_.Pwrite(fd.get(), "ab", 2, 4), 2);
  char buffer[4] = {};
  EXPECT_EQ(syscalls_.Pread(fd.get(), buffer, 4, 3), 4);
  EXPECT_EQ(std::string(buffer, 4), "3ab6");
}

TEST_F(LinuxSyscallsTest, MappedFileShowsItsContent) {
  const UniqueFd fd(syscalls_, syscalls_.Open(MakeFile("file", "content"), O_RDONLY));
  const int64_t address = syscalls_.Mmap(4096, PROT_READ, MAP_SHARED, fd.get(), 0);
  ASSERT_GT(address, 0);
  EXPECT_STREQ(reinterpret_cast<const char*>(address), "content");
  EXPECT_EQ(syscalls_.Munmap(static_cast<uint64_t>(address), 4096), 0);
}

TEST_F(LinuxSyscallsTest, DirectoryIsListedInOrderWithoutDots) {
  MakeFile("b", "");
  MakeFile("a", "");
  std::vector<std::string> names = {"left over"};
  EXPECT_EQ(syscalls_.Readdir(directory_, &names), 0);
  EXPECT_THAT(names, ElementsAre("a", "b"));
}

TEST_F(LinuxSyscallsTest, LinkOfProcNamesTheProcess) {
  std::string target;
  EXPECT_EQ(syscalls_.Readlink("/proc/self/exe", &target), 0);
  EXPECT_THAT(target, EndsWith("agent_kernel_test"));
}

TEST_F(LinuxSyscallsTest, FileIsReadUpTo64KiB) {
  std::string content;
  EXPECT_EQ(syscalls_.ReadFile(MakeFile("small", "text\n"), &content), 0);
  EXPECT_EQ(content, "text\n");
  EXPECT_EQ(syscalls_.ReadFile(MakeFile("large", std::string(100'000, 'x')), &content), 0);
  EXPECT_THAT(content, SizeIs(65536));
}

TEST_F(LinuxSyscallsTest, WriteFileReplacesBytesAndCreatesNothing) {
  const std::string path = MakeFile("file", "old text");
  EXPECT_EQ(syscalls_.WriteFile(path, "new"), 0);
  std::string content;
  EXPECT_EQ(syscalls_.ReadFile(path, &content), 0);
  EXPECT_EQ(content, "new text");
}

}  // namespace
}  // namespace nestor::kernel
