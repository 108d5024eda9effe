#include "agent/simkernel/simkernel_server.h"

#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "absl/memory/memory.h"
#include "agent/kernel/sim_system.h"
#include "agent/simkernel/system_calls.h"

namespace nestor::kernel {
namespace {

// What epoll says is ready. A greater one is a process that has ended: kProcess + its number.
constexpr uint64_t kListener = 0;
constexpr uint64_t kStop = 1;
constexpr uint64_t kCalls = 2;
constexpr uint64_t kHangUps = 3;
constexpr uint64_t kProcess = uint64_t{1} << 32;

// Of one turn; the rest come in the next.
constexpr int kMaxEvents = 64;

// A file that is none of the simulated machine's.
class HostFile final : public SimFile {};

}  // namespace

// The process that makes the call under way.
class SimkernelServer::Caller final : public SimTask {
 public:
  Caller(SimkernelServer& server, pid_t pid, const ClientProcess& process)
      : server_(server), pid_(pid), process_(process) {}

  const UserMemory& memory() const override { return process_.memory(); }
  int address_space() const override { return process_.address_space(); }

  std::shared_ptr<SimFile> GetFile(int fd) override {
    const FileDescriptor descriptor = process_.Duplicate(fd);
    if (!descriptor.valid()) return nullptr;
    std::shared_ptr<SimFile> file = server_.ends_.FindFile(descriptor);
    return file != nullptr ? file : std::make_shared<HostFile>();
  }

  FileDescriptor DuplicateHostFile(int fd) const override { return process_.Duplicate(fd); }

  // The number is the caller's to give, once the result arrives there.
  int InstallFile(std::shared_ptr<SimFile> file) override {
    const int result = server_.ends_.AddFile(std::move(file), pid_, &installed_);
    if (result == 0) ++server_.kernel_.system().descriptors;
    return result;
  }

  FileDescriptor TakeInstalled() { return std::move(installed_); }

 private:
  SimkernelServer& server_;
  const pid_t pid_;
  const ClientProcess& process_;
  FileDescriptor installed_;
};

absl::StatusOr<std::unique_ptr<SimkernelServer>> SimkernelServer::Listen(SimKernel& kernel,
                                                                         const std::string& path) {
  absl::StatusOr<FileDescriptor> listener = ListenForCalls(path);
  if (!listener.ok()) return listener.status();
  auto server = absl::WrapUnique(new SimkernelServer(kernel, path, *std::move(listener)));
  if (!server->Watch(server->listener_.get(), kListener) ||
      !server->Watch(server->stop_.get(), kStop) || !server->Watch(server->ends_.calls(), kCalls) ||
      !server->Watch(server->ends_.hang_ups(), kHangUps)) {
    return absl::ErrnoToStatus(errno, "watching descriptors");
  }
  return server;
}

SimkernelServer::SimkernelServer(SimKernel& kernel, std::string path, FileDescriptor listener)
    : kernel_(kernel),
      path_(std::move(path)),
      listener_(std::move(listener)),
      stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

SimkernelServer::~SimkernelServer() {
  unlink(path_.c_str());
  while (const auto id = ends_.First()) CloseEnd(*id);
}

bool SimkernelServer::Watch(int fd, uint64_t id) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = id;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void SimkernelServer::Run() {
  while (true) {
    std::array<epoll_event, kMaxEvents> events;
    const int count = epoll_wait(epoll_.get(), events.data(), kMaxEvents, -1);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.u64 == kStop) return;
      HandleEvent(events[i].data.u64);
    }
  }
}

void SimkernelServer::Stop() {
  const uint64_t one = 1;
  static_cast<void>(write(stop_.get(), &one, sizeof(one)));
}

void SimkernelServer::HandleEvent(uint64_t id) {
  switch (id) {
    case kListener:
      return Accept();
    case kCalls:
      return ServeCalls();
    case kHangUps:
      return CloseHungUp();
    default:
      return Forget(static_cast<pid_t>(id - kProcess));
  }
}

void SimkernelServer::Accept() {
  FileDescriptor socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket.valid()) return;
  ucred peer = {};
  socklen_t size = sizeof(peer);
  getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size);
  if (const int result = ends_.AddConnection(std::move(socket), peer.pid); result != 0) {
    spdlog::warn("a connection of process {} is refused: {}", peer.pid, strerror(-result));
  }
}

void SimkernelServer::ServeCalls() {
  std::array<epoll_event, kMaxEvents> events;
  const int count = epoll_wait(ends_.calls(), events.data(), kMaxEvents, 0);
  for (int i = 0; i < count; ++i) {
    if (ends_.Has(events[i].data.u64)) ServeEnd(events[i].data.u64);
  }
}

void SimkernelServer::ServeEnd(EndTable::Id id) {
  const ReceivedCall received = ReceiveCall(ends_.SocketOf(id));
  if (received.kind == ReceivedCall::Kind::kNothing) return;
  if (received.kind == ReceivedCall::Kind::kEnd) return CloseEnd(id);
  std::shared_ptr<SimFile> file = ends_.FileOf(id);
  CloseHungUp();
  Serve(file, received);
  const std::lock_guard lock(kernel_.system().mutex);
  file.reset();  // its last use, where it was closed meanwhile
}

// A call that another thread made before it closed the descriptor is still done.
void SimkernelServer::CloseHungUp() {
  while (const auto id = ends_.NextHangUp()) {
    while (true) {
      const ReceivedCall received = ReceiveCall(ends_.SocketOf(*id));
      if (received.kind == ReceivedCall::Kind::kNothing ||
          received.kind == ReceivedCall::Kind::kEnd) {
        break;
      }
      Serve(ends_.FileOf(*id), received);
    }
    CloseEnd(*id);
  }
}

void SimkernelServer::CloseEnd(EndTable::Id id) {
  const std::lock_guard lock(kernel_.system().mutex);
  if (ends_.FileOf(id) != nullptr) --kernel_.system().descriptors;
  ends_.Remove(id);
}

void SimkernelServer::Serve(const std::shared_ptr<SimFile>& file, const ReceivedCall& received) {
  FileDescriptor descriptor;
  const int64_t value = Call(file, received, &descriptor);
  SendResult(received.result, value, descriptor);
}

int64_t SimkernelServer::Call(const std::shared_ptr<SimFile>& file, const ReceivedCall& received,
                              FileDescriptor* descriptor) {
  if (received.kind != ReceivedCall::Kind::kCall) return -EINVAL;
  ClientProcess* process = nullptr;
  if (const int result = FindProcess(received.pid, &process); result != 0) return result;
  // Whoever waits is alive, so that its number is still its own.
  if (!IsAwaited(received.result)) return -EINTR;
  Caller caller(*this, received.pid, *process);
  const int64_t value = file == nullptr ? CallOnConnection(kernel_, caller, received.call)
                                        : CallOnFile(kernel_, caller, *file, received.call);
  if (value >= 0) *descriptor = caller.TakeInstalled();
  return value;
}

int SimkernelServer::FindProcess(pid_t pid, ClientProcess** process) {
  const auto found = processes_.find(pid);
  if (found != processes_.end() && found->second.memory().IsAlive()) {
    *process = &found->second;
    return 0;
  }
  Forget(pid);
  int address_space = 0;
  {
    const std::lock_guard lock(kernel_.system().mutex);
    address_space = kernel_.system().next_address_space++;
  }
  ClientProcess opened;
  if (const int result = ClientProcess::Open(pid, address_space, &opened); result != 0) {
    if (std::exchange(last_unreachable_, pid) != pid) {
      spdlog::warn("the memory of process {} cannot be reached: {}", pid, strerror(-result));
    }
    return result;
  }
  Watch(opened.pidfd().get(), kProcess + static_cast<uint64_t>(pid));
  *process = &processes_.emplace(pid, std::move(opened)).first->second;
  return 0;
}

void SimkernelServer::Forget(pid_t pid) {
  const auto found = processes_.find(pid);
  if (found == processes_.end()) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.pidfd().get(), nullptr);
  processes_.erase(found);
}

}  // namespace nestor::kernel
