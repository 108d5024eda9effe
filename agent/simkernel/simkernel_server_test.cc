// The server against clients that err, lie, hurry or do not listen.
#include "agent/simkernel/simkernel_server.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "agent/kernel/test_container.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "agent/simkernel/nestorsim.h"
#include "agent/simkernel/nestorsim_wire.h"
#include "agent/simkernel/test_simkernel.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

class SimkernelServerTest : public ::testing::Test {
 protected:
  // Sends bytes as they are, with up to two descriptors.
  static void SendPacket(int socket, const void* bytes, size_t size, const std::vector<int>& fds) {
    iovec part = {const_cast<void*>(bytes), size};
    alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
    }
    ASSERT_EQ(sendmsg(socket, &message, MSG_NOSIGNAL), static_cast<ssize_t>(size));
  }

  // The value that comes back for a packet; 1 if none does.
  static int64_t Answer(int socket, const void* bytes, size_t size, int extra_fd = -1) {
    int ends[2];
    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
    std::vector<int> fds = {ends[1]};
    if (extra_fd >= 0) fds.push_back(extra_fd);
    SendPacket(socket, bytes, size, fds);
    close(ends[1]);
    nestorsim_result result = {};
    const ssize_t received = recv(ends[0], &result, sizeof(result), 0);
    close(ends[0]);
    return received == sizeof(result) ? result.value : 1;
  }

  int64_t AnswerToCall(int socket, nestorsim_call call) {
    return Answer(socket, &call, sizeof(call));
  }

  bool Serves() {
    const int container = process_->Open("/dev/vfio/vfio", O_RDWR);
    const int version = process_->Ioctl(container, uapi::VFIO_GET_API_VERSION, 0);
    process_->Close(container);
    return version == uapi::VFIO_API_VERSION;
  }

  SimKernel kernel_{DefaultSimMachine(2)};
  TestSimkernel simkernel_{kernel_};
  const std::unique_ptr<RemoteSyscalls> process_ = simkernel_.Connect();
  const FileDescriptor connection_{nestorsim_connect(simkernel_.path().c_str())};
};

TEST_F(SimkernelServerTest, PacketThatIsNoCallIsInvalid) {
  nestorsim_call call = {NESTORSIM_MAGIC, NESTORSIM_STATUS, {}};
  const int socket = connection_.get();
  EXPECT_EQ(Answer(socket, "", 0), -EINVAL);
  EXPECT_EQ(Answer(socket, &call, sizeof(call) - 1), -EINVAL);
  const std::string too_long(sizeof(call) + 1, 'x');
  EXPECT_EQ(Answer(socket, too_long.data(), too_long.size()), -EINVAL);
  EXPECT_EQ(Answer(socket, &call, sizeof(call), STDIN_FILENO), -EINVAL);
  call.magic ^= 1;
  EXPECT_EQ(AnswerToCall(socket, call), -EINVAL);
  EXPECT_TRUE(Serves());
}

TEST_F(SimkernelServerTest, PacketThatSaysNotWhereToAnswerIsDropped) {
  const nestorsim_call call = {NESTORSIM_MAGIC, NESTORSIM_STATUS, {}};
  SendPacket(connection_.get(), &call, sizeof(call), {});
  SendPacket(connection_.get(), "", 0, {});
  const FileDescriptor file(open("/dev/null", O_RDWR | O_CLOEXEC));
  SendPacket(connection_.get(), &call, sizeof(call), {file.get()});
  EXPECT_EQ(AnswerToCall(connection_.get(), {NESTORSIM_MAGIC, 99, {}}), -EFAULT);
  EXPECT_TRUE(Serves());
}

TEST_F(SimkernelServerTest, SocketOfItsOwnAsTheAnswersPlaceDoesNoHarm) {
  const nestorsim_call call = {NESTORSIM_MAGIC, NESTORSIM_STATUS, {}};
  for (int i = 0; i < 10; ++i) {
    SendPacket(connection_.get(), &call, sizeof(call), {connection_.get()});
  }
  EXPECT_TRUE(Serves());
}

TEST_F(SimkernelServerTest, CallOfTheOtherKindOfSocketIsRefused) {
  const char path[] = "/dev/vfio/vfio";
  const auto address = reinterpret_cast<uint64_t>(path);
  const FileDescriptor container(nestorsim_open(connection_.get(), path, O_RDWR));
  EXPECT_EQ(AnswerToCall(container.get(), {NESTORSIM_MAGIC, NESTORSIM_OPEN, {address, 0, 0}}),
            -ENOTDIR);
  EXPECT_EQ(nestorsim_ioctl(connection_.get(), uapi::VFIO_GET_API_VERSION, 0), -EBADF);
  EXPECT_EQ(AnswerToCall(container.get(), {NESTORSIM_MAGIC, 99, {}}), -EINVAL);
  EXPECT_EQ(AnswerToCall(connection_.get(), {NESTORSIM_MAGIC, 99, {address, 0, 0}}), -EINVAL);
}

TEST_F(SimkernelServerTest, BadAddressIsAnAnswer) {
  const int connection = connection_.get();
  char buffer[16];
  EXPECT_EQ(nestorsim_open(connection, nullptr, O_RDWR), -EFAULT);
  EXPECT_EQ(nestorsim_open(connection, std::string(5000, 'x').c_str(), O_RDWR), -ENAMETOOLONG);
  EXPECT_EQ(nestorsim_status(connection, nullptr, 4096), -EFAULT);
  EXPECT_EQ(nestorsim_status(connection, buffer, sizeof(buffer)), -ERANGE);
  EXPECT_EQ(nestorsim_readdir(connection, "/sys/bus/pci/devices", buffer, sizeof(buffer)), -ERANGE);
  const FileDescriptor group(nestorsim_open(connection, "/dev/vfio/1", O_RDWR));
  EXPECT_EQ(nestorsim_ioctl(group.get(), uapi::VFIO_GROUP_SET_CONTAINER, 8), -EFAULT);
}

TEST_F(SimkernelServerTest, AttributesAreReadAndWrittenByName) {
  const int connection = connection_.get();
  char buffer[64];
  EXPECT_EQ(nestorsim_read_file(connection, "/sys/bus/pci/devices/0000:01:00.0/vendor", buffer,
                                sizeof(buffer)),
            7);
  EXPECT_EQ(std::string(buffer, 7), "0x1234\n");
  const char bdf[] = "0000:01:00.0";
  EXPECT_EQ(nestorsim_write_file(connection, "/sys/bus/pci/drivers/vfio-pci/unbind", bdf, 12), 12);
  EXPECT_EQ(nestorsim_open(connection, "/dev/vfio/1", O_RDWR), -ENOENT);
}

TEST_F(SimkernelServerTest, CallerThatDoesNotWaitGetsNothingAndKeepsNothing) {
  const char path[] = "/dev/vfio/1";
  const nestorsim_call call = {
      NESTORSIM_MAGIC, NESTORSIM_OPEN, {reinterpret_cast<uint64_t>(path), O_RDWR, 0}};
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  close(ends[0]);
  SendPacket(connection_.get(), &call, sizeof(call), {ends[1]});
  close(ends[1]);
  const int group = process_->Open(path, O_RDWR);
  EXPECT_GE(group, 0);
  process_->Close(group);
}

TEST_F(SimkernelServerTest, ProcessThatOpensTooMuchIsStoppedAndOthersAreNot) {
  // Both ends of each are in this process.
  constexpr rlim_t kNeeded = 2 * EndTable::kMaxOfProcess + 100;
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  if (limit.rlim_max < kNeeded) GTEST_SKIP() << "this host gives a process too few descriptors";
  limit.rlim_cur = std::max(limit.rlim_cur, kNeeded);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  std::vector<FileDescriptor> files;
  int result = 0;
  while ((result = nestorsim_open(connection_.get(), "/dev/vfio/vfio", O_RDWR)) >= 0) {
    files.emplace_back(result);
  }
  EXPECT_EQ(result, -EMFILE);
  // Two of the limit are connections.
  EXPECT_EQ(files.size(), static_cast<size_t>(EndTable::kMaxOfProcess - 2));
  files.clear();
  EXPECT_TRUE(Serves());
}

TEST_F(SimkernelServerTest, ThreadsShareAConnection) {
  std::vector<std::thread> threads;
  for (int number = 1; number <= 2; ++number) {
    threads.emplace_back([this, number] {
      for (int i = 0; i < 100; ++i) {
        TestContainer container(*process_, number);
        EXPECT_EQ(container.joined(), 0);
        EXPECT_EQ(container.SetIommu(uapi::VFIO_TYPE1_NESTING_IOMMU), 0);
        const auto pasid = static_cast<uint32_t>(number);
        EXPECT_EQ(container.Allocate(pasid), number);
        EXPECT_EQ(container.Free(pasid), 0);  // the process keeps it while it has any container
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  simkernel_.Settle();
  EXPECT_EQ(kernel_.Statistics(), SimStatistics{});
}

TEST_F(SimkernelServerTest, CallOutlivesTheDescriptorThatAnotherThreadCloses) {
  for (int i = 0; i < 100; ++i) {
    const int container = process_->Open("/dev/vfio/vfio", O_RDWR);
    // What it answers is not looked at: the server shares this process's descriptor table here, so
    // the closed number may be one of its own by then.
    std::thread caller([&] { process_->Ioctl(container, uapi::VFIO_GET_API_VERSION, 0); });
    process_->Close(container);
    caller.join();
  }
  EXPECT_TRUE(Serves());
  simkernel_.Settle();
  EXPECT_EQ(kernel_.Statistics(), SimStatistics{});
}

TEST_F(SimkernelServerTest, OtherDescriptorsAreTheHosts) {
  int pipe_ends[2];
  ASSERT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
  EXPECT_EQ(nestorsim_is_simulated(pipe_ends[0]), 0);
  EXPECT_EQ(nestorsim_is_simulated(-1), 0);
  EXPECT_EQ(process_->Ioctl(pipe_ends[0], uapi::VFIO_GET_API_VERSION, 0), -ENOTTY);
  const int container = process_->Open("/dev/vfio/vfio", O_RDWR);
  EXPECT_EQ(nestorsim_is_simulated(container), 1);
  EXPECT_EQ(process_->Mmap(4096, 0, 2, container, 0), -ENODEV);
  process_->Close(container);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

TEST_F(SimkernelServerTest, ErrnoIsLeftAlone) {
  errno = 77;
  EXPECT_EQ(nestorsim_connect("/nowhere/sim.sock"), -ENOENT);
  EXPECT_EQ(nestorsim_open(connection_.get(), "/dev/nothing", O_RDWR), -ENOENT);
  EXPECT_EQ(nestorsim_is_simulated(-1), 0);
  EXPECT_EQ(errno, 77);
}

TEST_F(SimkernelServerTest, PathIsListenedAtOnce) {
  EXPECT_EQ(SimkernelServer::Listen(kernel_, simkernel_.path()).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(SimkernelServer::Listen(kernel_, std::string(200, 'x')).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Serves());
}

TEST(RemoteSyscallsTest, NobodyListeningIsUnavailable) {
  EXPECT_EQ(RemoteSyscalls::Connect("/nowhere/sim.sock").status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(RemoteSyscalls::Connect(std::string(200, 'x')).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace nestor::kernel
