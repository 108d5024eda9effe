#include "agent/simkernel/call_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace nestor::kernel {
namespace {

// Connections that wait to be taken.
constexpr int kBacklog = 128;

// Room for what comes with a call; the kernel drops what does not fit.
struct alignas(cmsghdr) CallControl {
  char bytes[CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(sizeof(int))];
};
struct alignas(cmsghdr) DescriptorControl {
  char bytes[CMSG_SPACE(sizeof(int))];
};

// Takes over the caller's identity and the first descriptor; others are closed. The number of
// descriptors.
int TakeControl(msghdr& message, ReceivedCall* received) {
  int descriptors = 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET) continue;
    if (header->cmsg_type == SCM_CREDENTIALS) {
      ucred sender;
      std::memcpy(&sender, CMSG_DATA(header), sizeof(sender));
      received->pid = sender.pid;
    } else if (header->cmsg_type == SCM_RIGHTS) {
      for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= header->cmsg_len; at += sizeof(int)) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(header) + at, sizeof(fd));
        FileDescriptor descriptor(fd);
        if (descriptors++ == 0) received->result = std::move(descriptor);
      }
    }
  }
  return descriptors;
}

bool IsSomebodyListening(const sockaddr_un& address) {
  const FileDescriptor probe(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ||
         errno == EAGAIN;  // its backlog is full
}

}  // namespace

absl::StatusOr<FileDescriptor> ListenForCalls(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("the socket path '", path, "' must have 1 to ",
                                                   sizeof(address.sun_path) - 1, " bytes"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  if (IsSomebodyListening(address)) {
    return absl::AlreadyExistsError(absl::StrCat("another process listens at ", path));
  }
  struct stat status;
  if (lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) unlink(path.c_str());
  FileDescriptor socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid() ||
      bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      chmod(path.c_str(), 0600) != 0 || !IdentifySenders(socket.get()) ||
      listen(socket.get(), kBacklog) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("listening at ", path));
  }
  return socket;
}

bool IdentifySenders(int socket) {
  const int on = 1;
  return setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0;
}

ReceivedCall ReceiveCall(int socket) {
  ReceivedCall received;
  CallControl control = {};
  iovec part = {&received.call, sizeof(received.call)};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  const ssize_t size = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (size < 0) {
    const bool may_come = errno == EAGAIN || errno == EINTR;
    received.kind = may_come ? ReceivedCall::Kind::kNothing : ReceivedCall::Kind::kEnd;
    return received;
  }
  // Even an empty packet has a sender; an end has none.
  if (size == 0 && message.msg_controllen == 0) {
    received.kind = ReceivedCall::Kind::kEnd;
    return received;
  }
  const int descriptors = TakeControl(message, &received);
  const bool is_whole = size == sizeof(received.call) && descriptors == 1 &&
                        (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 &&
                        received.call.magic == NESTORSIM_MAGIC;
  received.kind = is_whole ? ReceivedCall::Kind::kCall : ReceivedCall::Kind::kInvalid;
  return received;
}

bool IsAwaited(const FileDescriptor& result) {
  pollfd state = {result.get(), POLLOUT, 0};
  return poll(&state, 1, 0) >= 0 && (state.revents & (POLLHUP | POLLERR | POLLNVAL)) == 0;
}

void SendResult(const FileDescriptor& result, int64_t value, const FileDescriptor& descriptor) {
  nestorsim_result answer = {};
  answer.value = value;
  answer.has_descriptor = descriptor.valid() ? 1 : 0;
  iovec part = {&answer, sizeof(answer)};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  DescriptorControl control = {};
  if (descriptor.valid()) {
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof(control.bytes);
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = descriptor.get();
    std::memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
  }
  // What fails here is the caller's doing, or its end.
  static_cast<void>(sendmsg(result.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

}  // namespace nestor::kernel
