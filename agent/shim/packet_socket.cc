#include "agent/shim/packet_socket.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

// The name that a listener has until it listens.
constexpr char kUnfinished[] = ".new";
// Agents that may wait to be taken: the present one and its successor.
constexpr int kBacklog = 2;

// Room for one descriptor.
union DescriptorControl {
  cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int))];
};

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("the socket path ", path, " has ", path.size(),
                                                   " bytes, and at most ",
                                                   sizeof(address.sun_path) - 1, " can be"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

absl::StatusOr<FileDescriptor> MakeSocket() {
  FileDescriptor socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return absl::ErrnoToStatus(errno, "socket");
  return socket;
}

absl::Status Gone(const char* why) {
  return absl::UnavailableError(absl::StrCat("the other side is gone: ", why));
}

FileDescriptor TakeDescriptor(msghdr* message) {
  const cmsghdr* control = CMSG_FIRSTHDR(message);
  if (control == nullptr || control->cmsg_type != SCM_RIGHTS) return FileDescriptor();
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(control), sizeof(fd));
  return FileDescriptor(fd);
}

}  // namespace

absl::StatusOr<PacketSocket> PacketSocket::Connect(const std::string& path) {
  ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  ASSIGN_OR_RETURN(FileDescriptor socket, MakeSocket());
  PacketSocket result(std::move(socket));
  if (connect(result.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    const std::string what = absl::StrCat("connect to ", path);
    if (errno == EAGAIN) return absl::DeadlineExceededError(what + ": no connection is taken");
    if (errno == ECONNREFUSED) return absl::UnavailableError(what + ": nobody listens any more");
    return absl::ErrnoToStatus(errno, what);
  }
  return result;
}

PacketSocket::PacketSocket(FileDescriptor socket) : socket_(std::move(socket)) {
  const timeval patience = absl::ToTimeval(kPacketPatience);
  setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

absl::Status PacketSocket::Send(const std::string& bytes, int descriptor) {
  if (bytes.size() > kMaxPacket) {
    return absl::InvalidArgumentError(absl::StrCat("a packet of ", bytes.size(), " bytes"));
  }
  iovec part = {const_cast<char*>(bytes.data()), bytes.size()};
  DescriptorControl control = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (descriptor >= 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof(control.bytes);
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(&control.header), &descriptor, sizeof(descriptor));
  }
  ssize_t sent = 0;
  do {
    sent = sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? Gone(std::strerror(errno)) : absl::OkStatus();
}

absl::StatusOr<Packet> PacketSocket::Receive() {
  Packet packet;
  packet.bytes.resize(kMaxPacket);
  iovec part = {packet.bytes.data(), packet.bytes.size()};
  DescriptorControl control = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  ssize_t received = 0;
  do {
    received = recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return Gone(std::strerror(errno));
  packet.descriptor = TakeDescriptor(&message);
  if (received == 0) return Gone("it closed its end");
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    return absl::InvalidArgumentError("a packet that is too large");
  }
  packet.bytes.resize(static_cast<size_t>(received));
  return packet;
}

void PacketSocket::Shutdown() { shutdown(socket_.get(), SHUT_RDWR); }

absl::StatusOr<FileDescriptor> ListenForPackets(const std::string& path) {
  const std::string unfinished = path + kUnfinished;
  ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(unfinished));
  if (PacketSocket::Connect(path).ok()) {
    return absl::AlreadyExistsError(absl::StrCat("somebody listens at ", path));
  }
  ASSIGN_OR_RETURN(FileDescriptor socket, MakeSocket());
  unlink(unfinished.c_str());
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(socket.get(), kBacklog) != 0 || rename(unfinished.c_str(), path.c_str()) != 0) {
    const int error = errno;
    unlink(unfinished.c_str());
    return absl::ErrnoToStatus(error, absl::StrCat("listening at ", path));
  }
  return socket;
}

absl::StatusOr<PacketSocket> AcceptPackets(int listener) {
  int socket = -1;
  do {
    socket = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  } while (socket < 0 && errno == EINTR);
  if (socket < 0) return absl::ErrnoToStatus(errno, "accept");
  return PacketSocket(FileDescriptor(socket));
}

}  // namespace nestor::agent
