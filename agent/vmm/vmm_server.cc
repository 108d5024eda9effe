#include "agent/vmm/vmm_server.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "agent/vmm/message_stream.h"
#include "agent/vmm/vfio_user_session.h"
#include "agent/vmm/vmm_socket.h"
#include "api/support/log.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

// A connection with more to say than this lets others go first.
constexpr int kMessagesPerTurn = 16;

FileDescriptor OpenSpare() { return FileDescriptor(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

std::string PeerOf(int socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return "unknown process";
  return absl::StrCat("process ", peer.pid, " of user ", peer.uid);
}

}  // namespace

// Touched by one worker at a time, but for Shutdown.
struct VmmServer::Connection {
  Connection(FileDescriptor socket, std::shared_ptr<Shim> shim, const Bdf& device)
      : stream(std::move(socket)),
        session(std::make_unique<VfioUserSession>(std::move(shim), device)) {}

  MessageStream stream;
  std::unique_ptr<VfioUserSession> session;
  EpollLoop::Id id = 0;
};

struct VmmServer::Endpoint {
  std::string vm_name;
  Bdf device;
  std::string path;
  std::shared_ptr<Shim> shim;
  FileDescriptor listener;
  EpollLoop::Id id = 0;
  // Guarded by VmmServer::mutex_.
  std::shared_ptr<Connection> connection;
  bool removed = false;
};

absl::StatusOr<std::unique_ptr<VmmServer>> VmmServer::Start(std::string directory,
                                                            const VmmServerOptions& options) {
  ASSIGN_OR_RETURN(auto loop, EpollLoop::Start());
  FileDescriptor spare = OpenSpare();
  if (!spare.valid()) return absl::ErrnoToStatus(errno, "open /dev/null");
  return std::unique_ptr<VmmServer>(
      new VmmServer(std::move(directory), options, std::move(loop), std::move(spare)));
}

VmmServer::VmmServer(std::string directory, const VmmServerOptions& options,
                     std::unique_ptr<EpollLoop> loop, FileDescriptor spare)
    : directory_(std::move(directory)),
      spare_(std::move(spare)),
      workers_(options.workers),
      loop_(std::move(loop)),
      control_(*loop_, workers_) {}

VmmServer::~VmmServer() { Stop(); }

absl::Status VmmServer::AddDevice(const std::string& vm_name, const Bdf& device,
                                  std::shared_ptr<Shim> shim) {
  auto endpoint = std::make_shared<Endpoint>();
  ASSIGN_OR_RETURN(endpoint->path, VmmSocketPath(directory_, vm_name, device));
  endpoint->vm_name = vm_name;
  endpoint->device = device;
  endpoint->shim = std::move(shim);
  const std::lock_guard lock(mutex_);
  if (endpoints_.contains({vm_name, device})) {
    return absl::AlreadyExistsError(absl::StrCat(endpoint->path, " is served already"));
  }
  ASSIGN_OR_RETURN(endpoint->listener, ListenAt(endpoint->path, SOCK_STREAM));
  if (absl::Status status = control_.AddDevice(vm_name, device, endpoint->path, endpoint->shim);
      !status.ok()) {
    RemoveSocket(endpoint->path);
    return status;
  }
  endpoint->id = loop_->Add(endpoint->listener.get(), [this, endpoint] { Accept(endpoint); });
  loop_->Arm(endpoint->id, EPOLLIN);
  endpoints_[{vm_name, device}] = std::move(endpoint);
  return absl::OkStatus();
}

void VmmServer::RemoveDevice(const std::string& vm_name, const Bdf& device) {
  const std::lock_guard lock(mutex_);
  const auto found = endpoints_.find({vm_name, device});
  if (found == endpoints_.end()) return;
  CloseLocked(*found->second);
  endpoints_.erase(found);
}

void VmmServer::Stop() {
  {
    std::unique_lock lock(mutex_);
    for (const auto& [key, endpoint] : endpoints_) CloseLocked(*endpoint);
    endpoints_.clear();
    connection_ended_.wait(lock, [this] { return connections_ == 0; });
  }
  loop_->Stop();
  workers_.Stop();
}

void VmmServer::CloseLocked(Endpoint& endpoint) {
  endpoint.removed = true;
  loop_->Remove(endpoint.id);
  control_.RemoveDevice(endpoint.vm_name, endpoint.device);
  RemoveSocket(endpoint.path);
  if (endpoint.connection != nullptr) endpoint.connection->stream.Shutdown();
}

void VmmServer::Accept(const std::shared_ptr<Endpoint>& endpoint) {
  const std::lock_guard lock(mutex_);
  if (endpoint->removed) return;
  FileDescriptor socket(
      accept4(endpoint->listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket.valid()) {
    log::Error({}, "{}: accept: {}", endpoint->path, absl::ErrnoToStatus(errno, "").ToString());
    RefuseOne(endpoint->listener.get());
    loop_->Arm(endpoint->id, EPOLLIN);
    return;
  }
  log::Info({}, "{}: {} connected", endpoint->path, PeerOf(socket.get()));
  auto connection =
      std::make_shared<Connection>(std::move(socket), endpoint->shim, endpoint->device);
  connection->id = loop_->Add(connection->stream.fd(), [this, endpoint, connection] {
    workers_.Post(endpoint->vm_name,
                  [this, endpoint, connection] { Serve(endpoint, *connection); });
  });
  loop_->Arm(connection->id, EPOLLIN);
  endpoint->connection = std::move(connection);
  ++connections_;
}

// Left in the backlog it would be reported again and again.
void VmmServer::RefuseOne(int listener) {
  spare_ = FileDescriptor();
  const FileDescriptor refused(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  spare_ = OpenSpare();
}

void VmmServer::Serve(const std::shared_ptr<Endpoint>& endpoint, Connection& connection) {
  MessageStream& stream = connection.stream;
  const auto turn = [&]() -> absl::Status {
    RETURN_IF_ERROR(stream.Flush());
    // While replies are not taken, no request is: a client cannot make us keep more.
    for (int i = 0; i < kMessagesPerTurn && !stream.has_unsent(); ++i) {
      ASSIGN_OR_RETURN(auto message, stream.Receive());
      if (!message) break;
      ASSIGN_OR_RETURN(const std::string reply, connection.session->Handle(*std::move(message)));
      RETURN_IF_ERROR(stream.Send(reply));
    }
    return absl::OkStatus();
  };
  const absl::Status status = turn();
  if (status.ok()) {
    loop_->Arm(connection.id, stream.has_unsent() ? EPOLLOUT : EPOLLIN);
    return;
  }
  log::Info({}, "{}: connection ends: {}", endpoint->path, std::string(status.message()));
  End(endpoint, connection);
}

void VmmServer::End(const std::shared_ptr<Endpoint>& endpoint, Connection& connection) {
  loop_->Remove(connection.id);
  connection.session.reset();
  const std::lock_guard lock(mutex_);
  endpoint->connection.reset();
  loop_->Arm(endpoint->id, EPOLLIN);
  --connections_;
  connection_ended_.notify_all();
}

}  // namespace nestor::agent
