#include "tests/guest/vfio_user_client.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/status_macros.h"

namespace nestor::guest {
namespace {

namespace vfio_user = agent::vfio_user;
using vfio_user::Command;

constexpr timeval kTimeout{.tv_sec = 10, .tv_usec = 0};

absl::StatusOr<FileDescriptor> ConnectTo(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("the socket path ", path, " is too long"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid() ||
      connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &kTimeout, sizeof(kTimeout)) != 0 ||
      setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &kTimeout, sizeof(kTimeout)) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("connecting to ", path));
  }
  return socket;
}

absl::Status SocketError(const char* call) {
  if (errno == EAGAIN) return absl::DeadlineExceededError(absl::StrCat(call, ": no answer"));
  return absl::UnavailableError(absl::StrCat(call, ": ", std::strerror(errno)));
}

// One more than a message may carry, for tests.
constexpr size_t kMaxFds = vfio_user::kMaxMessageFds + 1;

union ControlBuffer {
  cmsghdr aligned;
  char bytes[CMSG_SPACE(sizeof(int) * kMaxFds)];
};

void AttachFds(const std::vector<int>& fds, ControlBuffer& buffer, msghdr& message) {
  const size_t size = sizeof(int) * fds.size();
  message.msg_control = buffer.bytes;
  message.msg_controllen = CMSG_SPACE(size);
  cmsghdr* control = CMSG_FIRSTHDR(&message);
  control->cmsg_level = SOL_SOCKET;
  control->cmsg_type = SCM_RIGHTS;
  control->cmsg_len = CMSG_LEN(size);
  std::memcpy(CMSG_DATA(control), fds.data(), size);
}

}  // namespace

absl::StatusOr<std::unique_ptr<VfioUserClient>> VfioUserClient::Connect(const std::string& path) {
  ASSIGN_OR_RETURN(FileDescriptor socket, ConnectTo(path));
  std::unique_ptr<VfioUserClient> client(new VfioUserClient(std::move(socket)));
  const vfio_user::Version proposal{.max_msg_fds = vfio_user::kMaxMessageFds};
  RETURN_IF_ERROR(client->Call(Command::kVersion, vfio_user::EncodeVersion(proposal)).status());
  return client;
}

absl::Status VfioUserClient::MapMemory(int fd, uint64_t offset, uint64_t address, uint64_t size) {
  const vfio_user::DmaMap request{.argsz = sizeof(request),
                                  .flags = vfio_user::kDmaReadable | vfio_user::kDmaWriteable,
                                  .offset = offset,
                                  .address = address,
                                  .size = size};
  return Call(Command::kDmaMap, vfio_user::EncodePayload(request), {fd}).status();
}

absl::Status VfioUserClient::MapWithoutFd(uint64_t address, uint64_t size, uint32_t flags) {
  const vfio_user::DmaMap request{
      .argsz = sizeof(request), .flags = flags, .address = address, .size = size};
  return Call(Command::kDmaMap, vfio_user::EncodePayload(request)).status();
}

absl::Status VfioUserClient::UnmapMemory(uint64_t address, uint64_t size) {
  const vfio_user::DmaUnmap request{.argsz = sizeof(request), .address = address, .size = size};
  return Call(Command::kDmaUnmap, vfio_user::EncodePayload(request)).status();
}

absl::StatusOr<vfio_user::DeviceInfo> VfioUserClient::GetDeviceInfo() {
  ASSIGN_OR_RETURN(
      const std::string reply,
      Call(Command::kDeviceGetInfo, vfio_user::EncodePayload(vfio_user::DeviceInfo())));
  return vfio_user::DecodePayload<vfio_user::DeviceInfo>(reply);
}

absl::StatusOr<vfio_user::RegionInfo> VfioUserClient::GetRegionInfo(uint32_t region) {
  ASSIGN_OR_RETURN(const std::string reply,
                   Call(Command::kDeviceGetRegionInfo,
                        vfio_user::EncodePayload(vfio_user::RegionInfo{.index = region})));
  return vfio_user::DecodePayload<vfio_user::RegionInfo>(reply);
}

absl::StatusOr<std::string> VfioUserClient::ReadRegion(uint32_t region, uint64_t offset,
                                                       uint32_t size) {
  const vfio_user::RegionAccess access{.offset = offset, .region = region, .count = size};
  ASSIGN_OR_RETURN(const std::string reply,
                   Call(Command::kRegionRead, vfio_user::EncodePayload(access)));
  if (reply.size() != sizeof(access) + size) {
    return absl::InternalError(
        absl::StrCat("a read of ", size, " bytes gave a payload of ", reply.size()));
  }
  return reply.substr(sizeof(access));
}

absl::Status VfioUserClient::WriteRegion(uint32_t region, uint64_t offset, absl::string_view data) {
  const vfio_user::RegionAccess access{
      .offset = offset, .region = region, .count = static_cast<uint32_t>(data.size())};
  return Call(Command::kRegionWrite, absl::StrCat(vfio_user::EncodePayload(access), data)).status();
}

absl::Status VfioUserClient::PostRegionWrite(uint32_t region, uint64_t offset,
                                             absl::string_view data) {
  const vfio_user::RegionAccess access{
      .offset = offset, .region = region, .count = static_cast<uint32_t>(data.size())};
  return Send(vfio_user::EncodeCommand(Command::kRegionWrite, next_message_id_++,
                                       absl::StrCat(vfio_user::EncodePayload(access), data),
                                       vfio_user::kNoReply),
              {});
}

absl::Status VfioUserClient::SetIrqs(const vfio_user::SetIrqs& request,
                                     const std::vector<int>& eventfds) {
  return Call(Command::kDeviceSetIrqs, vfio_user::EncodePayload(request), eventfds).status();
}

absl::Status VfioUserClient::Reset() { return Call(Command::kDeviceReset, {}).status(); }

absl::StatusOr<std::string> VfioUserClient::Call(Command command, absl::string_view payload,
                                                 const std::vector<int>& fds) {
  const uint16_t message_id = next_message_id_++;
  RETURN_IF_ERROR(Send(vfio_user::EncodeCommand(command, message_id, payload), fds));
  ASSIGN_OR_RETURN(const std::string head, ReceiveBytes(sizeof(vfio_user::Header)));
  ASSIGN_OR_RETURN(const auto header, vfio_user::DecodeHeader(head));
  ASSIGN_OR_RETURN(std::string reply, ReceiveBytes(header.size - sizeof(header)));
  if (header.message_id != message_id ||
      (header.flags & vfio_user::kTypeMask) != vfio_user::kTypeReply) {
    return absl::InternalError(absl::StrCat("message ", header.message_id,
                                            " came in place of the "
                                            "reply to ",
                                            message_id));
  }
  if ((header.flags & vfio_user::kError) != 0) {
    return absl::ErrnoToStatus(static_cast<int>(header.error), "error reply");
  }
  return reply;
}

absl::Status VfioUserClient::Send(absl::string_view message, const std::vector<int>& fds) {
  if (fds.size() > kMaxFds) return absl::InvalidArgumentError("too many descriptors");
  ControlBuffer control{};
  bool fds_sent = fds.empty();
  while (!message.empty()) {
    iovec buffer{.iov_base = const_cast<char*>(message.data()), .iov_len = message.size()};
    msghdr head{};
    head.msg_iov = &buffer;
    head.msg_iovlen = 1;
    if (!fds_sent) AttachFds(fds, control, head);
    const ssize_t sent = sendmsg(socket_.get(), &head, MSG_NOSIGNAL);
    if (sent < 0) return SocketError("sendmsg");
    fds_sent = true;
    message.remove_prefix(static_cast<size_t>(sent));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> VfioUserClient::ReceiveBytes(size_t size) {
  std::string bytes(size, '\0');
  if (size == 0) return bytes;
  const ssize_t received = recv(socket_.get(), bytes.data(), size, MSG_WAITALL);
  if (received < 0) return SocketError("recv");
  if (static_cast<size_t>(received) != size) {
    return absl::UnavailableError("the server closed the connection");
  }
  return bytes;
}

}  // namespace nestor::guest
