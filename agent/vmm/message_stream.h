// vfio-user messages over a connected unix stream socket.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/vmm/vfio_user_protocol.h"
#include "api/support/file_descriptor.h"

namespace nestor::agent {

// One message and the descriptors that came with it.
struct Message {
  vfio_user::Header header;
  std::string payload;
  std::vector<FileDescriptor> fds;
};

// Takes messages out of a stream and puts bytes into it, never blocking. After an error
// the stream is of no more use. Not thread-safe.
class MessageStream {
 public:
  // `socket`: connected and O_NONBLOCK.
  explicit MessageStream(FileDescriptor socket) : socket_(std::move(socket)) {}

  // The next message, or nothing where all of it has not arrived yet. UNAVAILABLE: the
  // peer is gone. INVALID_ARGUMENT: what arrived is no message.
  absl::StatusOr<std::optional<Message>> Receive();

  // Sends `bytes` as far as the socket takes them now; the rest is kept for Flush.
  // UNAVAILABLE: the peer is gone.
  absl::Status Send(absl::string_view bytes);
  // Sends what is kept.
  absl::Status Flush();
  bool has_unsent() const { return !unsent_.empty(); }

  // For epoll and poll.
  int fd() const { return socket_.get(); }
  // Ends the connection for both sides; the descriptor stays. Thread-safe.
  void Shutdown();

 private:
  // Reads until `buffer` holds `wanted` bytes; it grows with what arrives, not with what
  // the peer announced. False: not all are there yet.
  absl::StatusOr<bool> Fill(std::string& buffer, size_t wanted);
  // One recvmsg(2) of at most `size` bytes to `data`; 0: nothing there now.
  absl::StatusOr<size_t> ReceiveSome(char* data, size_t size);

  FileDescriptor socket_;
  std::string header_;  // as far as it has arrived
  Message incoming_;    // its header is valid once header_ is whole
  std::string unsent_;
};

}  // namespace nestor::agent
