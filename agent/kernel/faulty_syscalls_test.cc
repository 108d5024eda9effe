#include "agent/kernel/faulty_syscalls.h"

#include <fcntl.h>

#include <cerrno>
#include <thread>

#include "agent/kernel/sim_kernel.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

class FaultySyscallsTest : public ::testing::Test {
 protected:
  SimKernel kernel_{DefaultSimMachine(1)};
  std::unique_ptr<SimProcess> process_ = kernel_.CreateProcess();
  FaultySyscalls syscalls_{*process_};
};

TEST_F(FaultySyscallsTest, OnlyTheChosenCallFailsAndIsNotMade) {
  syscalls_.FailCall(2, EMFILE);
  const int fd = syscalls_.Open("/dev/vfio/vfio", O_RDWR);
  EXPECT_GE(fd, 0);
  EXPECT_EQ(syscalls_.Open("/dev/vfio/vfio", O_RDWR), -EMFILE);
  EXPECT_EQ(syscalls_.Ioctl(fd, uapi::VFIO_GET_API_VERSION, 0), 0);
  EXPECT_EQ(syscalls_.calls(), 3);
  EXPECT_EQ(kernel_.Statistics().descriptors, 1);
}

TEST_F(FaultySyscallsTest, ChosenRequestFailsUntilReset) {
  const int fd = syscalls_.Open("/dev/vfio/vfio", O_RDWR);
  syscalls_.FailIoctl(uapi::VFIO_CHECK_EXTENSION, EIO);
  EXPECT_EQ(syscalls_.Ioctl(fd, uapi::VFIO_CHECK_EXTENSION, 1), -EIO);
  EXPECT_EQ(syscalls_.Ioctl(fd, uapi::VFIO_CHECK_EXTENSION, 1), -EIO);
  EXPECT_EQ(syscalls_.Ioctl(fd, uapi::VFIO_GET_API_VERSION, 0), 0);
  syscalls_.Reset();
  EXPECT_EQ(syscalls_.Ioctl(fd, uapi::VFIO_CHECK_EXTENSION, 1), 1);
}

TEST_F(FaultySyscallsTest, ChosenPathFailsUntilReset) {
  std::string text;
  const std::string vendor = "/sys/bus/pci/devices/0000:01:00.0/vendor";
  syscalls_.FailPath(vendor, EIO);
  EXPECT_EQ(syscalls_.ReadFile(vendor, &text), -EIO);
  EXPECT_EQ(syscalls_.Open(vendor, O_RDONLY), -EIO);
  EXPECT_EQ(syscalls_.ReadFile("/sys/bus/pci/devices/0000:01:00.0/device", &text), 0);
  syscalls_.Reset();
  EXPECT_EQ(syscalls_.ReadFile(vendor, &text), 0);
}

TEST_F(FaultySyscallsTest, HangingCallIsMadeOnceItIsReleased) {
  syscalls_.HangCall(2);
  EXPECT_GE(syscalls_.Open("/dev/vfio/vfio", O_RDWR), 0);
  std::thread other([this] { EXPECT_GE(syscalls_.Open("/dev/vfio/vfio", O_RDWR), 0); });
  while (!syscalls_.IsHanging()) std::this_thread::yield();
  EXPECT_EQ(kernel_.Statistics().descriptors, 1);
  EXPECT_GE(syscalls_.Open("/dev/vfio/vfio", O_RDWR), 0);  // others go on
  syscalls_.Release();
  other.join();
  EXPECT_FALSE(syscalls_.IsHanging());
  EXPECT_EQ(kernel_.Statistics().descriptors, 3);
}

TEST_F(FaultySyscallsTest, CloseNeverFailsNorCounts) {
  const int fd = syscalls_.Open("/dev/vfio/vfio", O_RDWR);
  syscalls_.FailCall(1, EINTR);
  EXPECT_EQ(syscalls_.Close(fd), 0);
  EXPECT_EQ(syscalls_.calls(), 0);
}

TEST_F(FaultySyscallsTest, EveryOtherKindOfCallCanFail) {
  std::string text;
  std::vector<std::string> names;
  const auto fail_next = [&] { syscalls_.FailCall(1, EIO); };
  fail_next();
  EXPECT_EQ(syscalls_.Pread(0, nullptr, 0, 0), -EIO);
  fail_next();
  EXPECT_EQ(syscalls_.Pwrite(0, nullptr, 0, 0), -EIO);
  fail_next();
  EXPECT_EQ(syscalls_.Mmap(4096, 0, 0, 0, 0), -EIO);
  fail_next();
  EXPECT_EQ(syscalls_.Readlink("/sys", &text), -EIO);
  fail_next();
  EXPECT_EQ(syscalls_.Readdir("/sys", &names), -EIO);
  fail_next();
  EXPECT_EQ(syscalls_.ReadFile("/sys", &text), -EIO);
  fail_next();
  EXPECT_EQ(syscalls_.WriteFile("/sys", text), -EIO);
}

}  // namespace
}  // namespace nestor::kernel
