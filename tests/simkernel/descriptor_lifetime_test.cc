// Descriptors of simulated files live and die as the host's kernel has it, and the files with
// their last descriptor.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "agent/kernel/test_container.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "gtest/gtest.h"
#include "tests/simkernel/simkernel_process.h"

namespace nestor::testing {
namespace {

using kernel::Syscalls;
using kernel::TestContainer;
namespace uapi = kernel::uapi;

class DescriptorLifetimeTest : public ::testing::Test {
 protected:
  int OpenContainer() { return client_->Open("/dev/vfio/vfio", O_RDWR); }
  bool Answers(int container) {
    return client_->Ioctl(container, uapi::VFIO_GET_API_VERSION, 0) == uapi::VFIO_API_VERSION;
  }
  int Containers() { return simkernel_.Count("containers"); }

  SimkernelProcess simkernel_;
  std::unique_ptr<Syscalls> client_ = simkernel_.Connect();
};

// Sends or receives one descriptor.
union DescriptorControl {
  cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int))];
};

void SendDescriptor(int socket, int fd) {
  char byte = 0;
  iovec part = {&byte, 1};
  DescriptorControl control = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  control.header.cmsg_level = SOL_SOCKET;
  control.header.cmsg_type = SCM_RIGHTS;
  control.header.cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
  sendmsg(socket, &message, 0);
}

int ReceiveDescriptor(int socket) {
  char byte = 0;
  iovec part = {&byte, 1};
  DescriptorControl control = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1) return -1;
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
  return fd;
}

TEST_F(DescriptorLifetimeTest, DuplicateKeepsTheFileOpen) {
  const int container = OpenContainer();
  const int duplicate = dup(container);
  client_->Close(container);
  EXPECT_EQ(Containers(), 1);
  EXPECT_TRUE(Answers(duplicate));
  client_->Close(duplicate);
  EXPECT_EQ(Containers(), 0);
}

TEST_F(DescriptorLifetimeTest, CloseTakesEffectBeforeTheNextCall) {
  for (int i = 0; i < 100; ++i) {
    const int group = client_->Open("/dev/vfio/1", O_RDWR);
    ASSERT_GE(group, 0) << "open " << i;  // -EBUSY while an earlier one is open
    client_->Close(group);
  }
}

TEST_F(DescriptorLifetimeTest, ForkedChildKeepsTheFileAndUsesIt) {
  const int container = OpenContainer();
  int answer[2];
  ASSERT_EQ(pipe2(answer, O_CLOEXEC), 0);
  ForkedChild child([&] {
    const bool answers = Answers(container);
    static_cast<void>(write(answer[1], &answers, sizeof(answers)));
  });
  bool child_was_answered = false;
  ASSERT_EQ(read(answer[0], &child_was_answered, sizeof(child_was_answered)), 1);
  EXPECT_TRUE(child_was_answered);
  client_->Close(container);
  EXPECT_EQ(Containers(), 1);
  child.Kill();
  EXPECT_EQ(Containers(), 0);
  close(answer[0]);
  close(answer[1]);
}

TEST_F(DescriptorLifetimeTest, SentDescriptorOutlivesItsSender) {
  int sockets[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  ForkedChild sender([&] { SendDescriptor(sockets[0], OpenContainer()); });
  sender.Kill();
  EXPECT_EQ(Containers(), 1);  // on its way
  const int container = ReceiveDescriptor(sockets[1]);
  EXPECT_TRUE(Answers(container));
  client_->Close(container);
  EXPECT_EQ(Containers(), 0);
  close(sockets[0]);
  close(sockets[1]);
}

TEST_F(DescriptorLifetimeTest, DescriptorThatWasNeverReceivedIsClosedWithItsSocket) {
  int sockets[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  const int container = OpenContainer();
  SendDescriptor(sockets[0], container);
  client_->Close(container);
  EXPECT_EQ(Containers(), 1);
  close(sockets[0]);
  close(sockets[1]);
  EXPECT_EQ(Containers(), 0);
}

TEST_F(DescriptorLifetimeTest, ExecKeepsOnlyWhatIsNotCloseOnExec) {
  ForkedChild child([&] {
    const int container = OpenContainer();
    client_->Open("/dev/vfio/1", O_RDWR);
    fcntl(container, F_SETFD, 0);
    execl("/bin/sleep", "sleep", "600", nullptr);
  });
  EXPECT_EQ(Containers(), 1);
  EXPECT_EQ(simkernel_.Count("groups"), 0);
  child.Kill();
  EXPECT_EQ(Containers(), 0);
}

TEST_F(DescriptorLifetimeTest, DeviceKeepsItsGroupInTheContainerLikeAnyOther) {
  TestContainer container = TestContainer::Nesting(*client_);
  ASSERT_GE(container.OpenDevice(), 0);
  container.CloseGroup();
  container.CloseContainer();
  EXPECT_EQ(Containers(), 1);
  EXPECT_EQ(client_->Open("/dev/vfio/1", O_RDWR), -EBUSY);
  container.CloseDevice();
  EXPECT_EQ(Containers(), 0);
}

TEST_F(DescriptorLifetimeTest, ArgumentMayBeAnyDescriptorOfTheContainer) {
  const int container = OpenContainer();
  int duplicate = dup(container);
  client_->Close(container);
  const int group = client_->Open("/dev/vfio/1", O_RDWR);
  EXPECT_EQ(client_->IoctlPointer(group, uapi::VFIO_GROUP_SET_CONTAINER, &duplicate), 0);
  client_->Close(duplicate);
  client_->Close(group);
}

TEST_F(DescriptorLifetimeTest, ArgumentThatIsNoContainerIsRefusedAsTheKernelDoes) {
  int group = client_->Open("/dev/vfio/1", O_RDWR);
  int host_file = open("/dev/null", O_RDWR | O_CLOEXEC);
  int closed = 1000;
  EXPECT_EQ(client_->IoctlPointer(group, uapi::VFIO_GROUP_SET_CONTAINER, &group), -EINVAL);
  EXPECT_EQ(client_->IoctlPointer(group, uapi::VFIO_GROUP_SET_CONTAINER, &host_file), -EINVAL);
  EXPECT_EQ(client_->IoctlPointer(group, uapi::VFIO_GROUP_SET_CONTAINER, &closed), -EBADF);
  close(host_file);
  client_->Close(group);
}

}  // namespace
}  // namespace nestor::testing
