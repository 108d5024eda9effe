#include "agent/vmm/message_stream.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "agent/vmm/vfio_user_protocol.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using vfio_user::Command;

// A stream and the raw socket at its other end.
class MessageStreamTest : public testing::Test {
 protected:
  MessageStreamTest() {
    int sockets[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets), 0);
    stream_ = std::make_unique<MessageStream>(FileDescriptor(sockets[0]));
    peer_ = FileDescriptor(sockets[1]);
  }

  void PeerSends(const std::string& bytes) {
    ASSERT_EQ(send(peer_.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }

  // Takes what is there, at most `size` bytes.
  std::string PeerReceives(size_t size) {
    std::string bytes(size, '\0');
    const ssize_t received = recv(peer_.get(), bytes.data(), bytes.size(), 0);
    bytes.resize(received < 0 ? 0 : static_cast<size_t>(received));
    return bytes;
  }

  std::unique_ptr<MessageStream> stream_;
  FileDescriptor peer_;
};

TEST_F(MessageStreamTest, MessageInPiecesIsGivenOnceWhole) {
  const std::string bytes = vfio_user::EncodeCommand(Command::kRegionWrite, 3, "payload");
  for (const char byte : bytes.substr(0, bytes.size() - 1)) {
    PeerSends(std::string(1, byte));
    const auto message = stream_->Receive();
    ASSERT_TRUE(message.ok()) << message.status();
    EXPECT_FALSE(message->has_value());
  }
  PeerSends(bytes.substr(bytes.size() - 1));
  const auto message = stream_->Receive();
  ASSERT_TRUE(message.ok() && message->has_value());
  EXPECT_EQ((*message)->payload, "payload");
  EXPECT_EQ((*message)->header.message_id, 3);
}

TEST_F(MessageStreamTest, PipelinedMessagesComeOneByOne) {
  PeerSends(vfio_user::EncodeCommand(Command::kRegionRead, 1, "first") +
            vfio_user::EncodeCommand(Command::kDeviceReset, 2, "") +
            vfio_user::EncodeCommand(Command::kRegionRead, 3, "third"));
  EXPECT_EQ((*stream_->Receive())->payload, "first");
  EXPECT_EQ((*stream_->Receive())->payload, "");
  EXPECT_EQ((*stream_->Receive())->payload, "third");
  EXPECT_FALSE(stream_->Receive()->has_value());
}

TEST_F(MessageStreamTest, PeerThatClosesIsUnavailable) {
  PeerSends("half");
  peer_ = FileDescriptor();
  EXPECT_EQ(stream_->Receive().status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(MessageStreamTest, MalformedHeaderIsInvalid) {
  PeerSends(std::string(16, '\xff'));
  EXPECT_EQ(stream_->Receive().status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(MessageStreamTest, WhatThePeerDoesNotTakeIsKeptAndSentLater) {
  const std::string bytes(4 << 20, 'x');
  ASSERT_TRUE(stream_->Send(bytes).ok());
  ASSERT_TRUE(stream_->has_unsent());
  size_t received = 0;
  while (received < bytes.size()) {
    received += PeerReceives(bytes.size()).size();
    ASSERT_TRUE(stream_->Flush().ok());
  }
  EXPECT_EQ(received, bytes.size());
  EXPECT_FALSE(stream_->has_unsent());
}

TEST_F(MessageStreamTest, SendingToAPeerThatIsGoneIsUnavailableAndNoSignal) {
  peer_ = FileDescriptor();
  EXPECT_EQ(stream_->Send("bytes").code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace nestor::agent
