#include "agent/vmm/epoll_loop.h"

#include <sys/eventfd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "api/support/log.h"

namespace nestor::agent {
namespace {

constexpr EpollLoop::Id kStopId = 0;

}  // namespace

absl::StatusOr<std::unique_ptr<EpollLoop>> EpollLoop::Start() {
  FileDescriptor epoll(epoll_create1(EPOLL_CLOEXEC));
  FileDescriptor stop(eventfd(0, EFD_CLOEXEC));
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kStopId}};
  if (!epoll.valid() || !stop.valid() ||
      epoll_ctl(epoll.get(), EPOLL_CTL_ADD, stop.get(), &event) != 0) {
    return absl::ErrnoToStatus(errno, "epoll");
  }
  return std::unique_ptr<EpollLoop>(new EpollLoop(std::move(epoll), std::move(stop)));
}

EpollLoop::EpollLoop(FileDescriptor epoll, FileDescriptor stop)
    : epoll_(std::move(epoll)), stop_(std::move(stop)), thread_([this] { Run(); }) {}

EpollLoop::~EpollLoop() { Stop(); }

EpollLoop::Id EpollLoop::Add(int fd, Handler handler) {
  const std::lock_guard lock(mutex_);
  const Id id = next_id_++;
  sources_[id] = {fd, std::make_shared<Handler>(std::move(handler))};
  return id;
}

void EpollLoop::Arm(Id id, uint32_t events) {
  const std::lock_guard lock(mutex_);
  const auto source = sources_.find(id);
  if (source == sources_.end()) return;
  const int fd = source->second.fd;
  epoll_event event{.events = events | EPOLLONESHOT, .data = {.u64 = id}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0) return;
  if (errno != ENOENT || epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    log::Error({}, "epoll_ctl: {}", absl::ErrnoToStatus(errno, "").ToString());
  }
}

void EpollLoop::Remove(Id id) {
  const std::lock_guard lock(mutex_);
  const auto source = sources_.find(id);
  if (source == sources_.end()) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, source->second.fd, nullptr);
  sources_.erase(source);
}

void EpollLoop::Stop() {
  if (!thread_.joinable()) return;
  eventfd_write(stop_.get(), 1);
  thread_.join();
}

void EpollLoop::Run() {
  std::array<epoll_event, 64> events;
  for (;;) {
    const int count = epoll_wait(epoll_.get(), events.data(), events.size(), -1);
    for (int i = 0; i < count; ++i) {
      const Id id = events[i].data.u64;
      if (id == kStopId) return;
      if (const auto handler = Find(id)) (*handler)();
    }
  }
}

std::shared_ptr<EpollLoop::Handler> EpollLoop::Find(Id id) {
  const std::lock_guard lock(mutex_);
  const auto source = sources_.find(id);
  return source == sources_.end() ? nullptr : source->second.handler;
}

}  // namespace nestor::agent
