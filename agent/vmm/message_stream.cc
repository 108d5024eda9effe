#include "agent/vmm/message_stream.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

constexpr size_t kReceiveChunk = 64 << 10;

absl::Status PeerGone(const char* call, int error) {
  return absl::UnavailableError(absl::StrCat(call, ": ", std::strerror(error)));
}

// Room for as many descriptors as a message may carry.
union ControlBuffer {
  cmsghdr aligned;
  char bytes[CMSG_SPACE(sizeof(int) * vfio_user::kMaxMessageFds)];
};

// Takes ownership of every descriptor that came, also of those that are one too many.
void CollectFds(msghdr& received, std::vector<FileDescriptor>& fds) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&received); control != nullptr;
       control = CMSG_NXTHDR(&received, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(int));
      fds.emplace_back(fd);
    }
  }
}

}  // namespace

absl::StatusOr<std::optional<Message>> MessageStream::Receive() {
  if (header_.size() < sizeof(vfio_user::Header)) {
    ASSIGN_OR_RETURN(const bool whole, Fill(header_, sizeof(vfio_user::Header)));
    if (!whole) return std::nullopt;
    ASSIGN_OR_RETURN(incoming_.header, vfio_user::DecodeHeader(header_));
  }
  const size_t payload_size = incoming_.header.size - sizeof(vfio_user::Header);
  ASSIGN_OR_RETURN(const bool whole, Fill(incoming_.payload, payload_size));
  if (!whole) return std::nullopt;
  header_.clear();
  return std::exchange(incoming_, Message{});
}

absl::StatusOr<bool> MessageStream::Fill(std::string& buffer, size_t wanted) {
  while (buffer.size() < wanted) {
    const size_t filled = buffer.size();
    const size_t room = std::min(wanted - filled, kReceiveChunk);
    buffer.resize(filled + room);
    auto received = ReceiveSome(buffer.data() + filled, room);
    buffer.resize(filled + received.value_or(0));
    if (!received.ok()) return received.status();
    if (*received == 0) return false;
  }
  return true;
}

absl::StatusOr<size_t> MessageStream::ReceiveSome(char* data, size_t size) {
  ControlBuffer control;
  iovec buffer{.iov_base = data, .iov_len = size};
  msghdr message{};
  message.msg_iov = &buffer;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  const ssize_t received = recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
  if (received < 0) {
    if (errno == EAGAIN || errno == EINTR) return 0;
    return PeerGone("recvmsg", errno);
  }
  CollectFds(message, incoming_.fds);
  if ((message.msg_flags & MSG_CTRUNC) != 0 || incoming_.fds.size() > vfio_user::kMaxMessageFds) {
    return absl::InvalidArgumentError(
        absl::StrCat("a message with over ", vfio_user::kMaxMessageFds, " descriptors"));
  }
  if (received == 0) return absl::UnavailableError("the peer closed the connection");
  return static_cast<size_t>(received);
}

absl::Status MessageStream::Send(absl::string_view bytes) {
  unsent_.append(bytes.data(), bytes.size());
  return Flush();
}

absl::Status MessageStream::Flush() {
  size_t done = 0;
  while (done < unsent_.size()) {
    const ssize_t sent =
        send(socket_.get(), unsent_.data() + done, unsent_.size() - done, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) break;
    if (sent < 0) return PeerGone("send", errno);
    done += static_cast<size_t>(sent);
  }
  unsent_.erase(0, done);
  return absl::OkStatus();
}

void MessageStream::Shutdown() { shutdown(socket_.get(), SHUT_RDWR); }

}  // namespace nestor::agent
