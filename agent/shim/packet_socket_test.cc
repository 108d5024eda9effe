#include "agent/shim/packet_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>

namespace nestor::agent {
namespace {

class PacketSocketTest : public ::testing::Test {
 protected:
  PacketSocketTest() {
    std::string pattern = "/tmp/nestor-packets-XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~PacketSocketTest() override { std::filesystem::remove_all(directory_); }

  std::string path() const { return directory_ + "/a.sock"; }
  void Pair() {
    std::array<int, 2> ends;
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    left_ = PacketSocket(FileDescriptor(ends[0]));
    right_ = PacketSocket(FileDescriptor(ends[1]));
  }

  std::string directory_;
  PacketSocket left_;
  PacketSocket right_;
};

TEST_F(PacketSocketTest, PacketsKeepTheirBordersAndTheirDescriptors) {
  Pair();
  const FileDescriptor file(memfd_create("x", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(file.get(), 123), 0);
  ASSERT_TRUE(left_.Send("one").ok());
  ASSERT_TRUE(left_.Send("two", file.get()).ok());
  const Packet first = *right_.Receive();
  EXPECT_EQ(first.bytes, "one");
  EXPECT_FALSE(first.descriptor.valid());
  const Packet second = *right_.Receive();
  EXPECT_EQ(second.bytes, "two");
  EXPECT_EQ(lseek(second.descriptor.get(), 0, SEEK_END), 123);
}

TEST_F(PacketSocketTest, LargestPacketPassesAndALargerOneIsRefused) {
  Pair();
  ASSERT_TRUE(left_.Send(std::string(kMaxPacket, 'x')).ok());
  EXPECT_EQ(right_.Receive()->bytes.size(), kMaxPacket);
  EXPECT_EQ(left_.Send(std::string(kMaxPacket + 1, 'x')).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(PacketSocketTest, TooLargePacketOfTheOtherSideIsNoPacket) {
  Pair();
  const std::string large(kMaxPacket + 1, 'x');
  ASSERT_EQ(send(left_.fd(), large.data(), large.size(), 0), static_cast<ssize_t>(large.size()));
  EXPECT_EQ(right_.Receive().status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(PacketSocketTest, OtherSideThatIsGoneIsUnavailable) {
  Pair();
  left_ = PacketSocket();
  EXPECT_EQ(right_.Receive().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(right_.Send("x").code(), absl::StatusCode::kUnavailable);
}

TEST_F(PacketSocketTest, ConnectTellsNothingThereFromNobodyThere) {
  EXPECT_EQ(PacketSocket::Connect(path()).status().code(), absl::StatusCode::kNotFound);
  FileDescriptor listener = *ListenForPackets(path());
  EXPECT_TRUE(PacketSocket::Connect(path()).ok());
  listener = FileDescriptor();
  EXPECT_EQ(PacketSocket::Connect(path()).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(PacketSocket::Connect(directory_ + std::string(200, 'x')).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(PacketSocketTest, OneListensAndTakesThePlaceOfADeadOne) {
  FileDescriptor listener = *ListenForPackets(path());
  EXPECT_EQ(ListenForPackets(path()).status().code(), absl::StatusCode::kAlreadyExists);
  listener = FileDescriptor();
  listener = *ListenForPackets(path());
  PacketSocket client = *PacketSocket::Connect(path());
  PacketSocket server = *AcceptPackets(listener.get());
  ASSERT_TRUE(client.Send("x").ok());
  EXPECT_EQ(server.Receive()->bytes, "x");
}

}  // namespace
}  // namespace nestor::agent
