#include "agent/simkernel/end_table.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "agent/simkernel/call_socket.h"

namespace nestor::kernel {
namespace {

// The host's own name of a socket, the same for all descriptors of it and never given again;
// 0: it is none.
uint64_t CookieOf(int descriptor) {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  return getsockopt(descriptor, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

bool Watch(int epoll, int fd, uint32_t events, EndTable::Id id) {
  epoll_event event = {};
  event.events = events;
  event.data.u64 = id;
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

EndTable::EndTable()
    : calls_(epoll_create1(EPOLL_CLOEXEC)), hang_ups_(epoll_create1(EPOLL_CLOEXEC)) {}

int EndTable::AddConnection(FileDescriptor socket, pid_t process) {
  return Add({.socket = std::move(socket), .file = nullptr, .process = process});
}

int EndTable::AddFile(std::shared_ptr<SimFile> file, pid_t process, FileDescriptor* descriptor) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return -errno;
  FileDescriptor own(ends[0]);
  FileDescriptor clients(ends[1]);
  const uint64_t cookie = CookieOf(clients.get());
  if (!IdentifySenders(own.get())) return -errno;
  const int result = Add({.socket = std::move(own),
                          .file = std::move(file),
                          .process = process,
                          .peer_cookie = cookie});
  if (result == 0) *descriptor = std::move(clients);
  return result;
}

int EndTable::Add(End end) {
  const auto count = counts_.find(end.process);
  if (count != counts_.end() && count->second >= kMaxOfProcess) return -EMFILE;
  const Id id = next_id_++;
  const int socket = end.socket.get();
  if (!Watch(calls_.get(), socket, EPOLLIN, id)) return -errno;
  if (!Watch(hang_ups_.get(), socket, EPOLLRDHUP, id)) return -errno;
  ++counts_[end.process];
  if (end.peer_cookie != 0) by_cookie_[end.peer_cookie] = id;
  ends_.emplace(id, std::move(end));
  return 0;
}

void EndTable::Remove(Id id) {
  const auto found = ends_.find(id);
  End& end = found->second;
  // Closing alone would not end the watch where a child has inherited the socket.
  epoll_ctl(calls_.get(), EPOLL_CTL_DEL, end.socket.get(), nullptr);
  epoll_ctl(hang_ups_.get(), EPOLL_CTL_DEL, end.socket.get(), nullptr);
  by_cookie_.erase(end.peer_cookie);
  if (--counts_[end.process] == 0) counts_.erase(end.process);
  ends_.erase(found);
}

std::shared_ptr<SimFile> EndTable::FindFile(const FileDescriptor& descriptor) const {
  const auto found = by_cookie_.find(CookieOf(descriptor.get()));
  return found == by_cookie_.end() ? nullptr : FileOf(found->second);
}

std::optional<EndTable::Id> EndTable::NextHangUp() const {
  epoll_event event;
  if (epoll_wait(hang_ups_.get(), &event, 1, 0) != 1) return std::nullopt;
  return Id{event.data.u64};  // a copy: the struct is packed
}

}  // namespace nestor::kernel
