#include "agent/vmm/control_server.h"

#include <sys/socket.h>

#include <cerrno>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/vmm/control_request.h"
#include "agent/vmm/vmm_socket.h"
#include "api/support/log.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

// A client with more to say than this lets others go first.
constexpr int kPacketsPerTurn = 16;
// Longer than any request.
constexpr size_t kLongestRequest = 4096;

}  // namespace

struct ControlServer::Client {
  FileDescriptor socket;
  EpollLoop::Id id = 0;
};

struct ControlServer::Machine {
  std::string name;
  std::string path;
  std::shared_ptr<Shim> shim;
  FileDescriptor listener;
  EpollLoop::Id id = 0;
  // Guarded by ControlServer::mutex_.
  std::map<Bdf, std::string> sockets;
  std::set<std::shared_ptr<Client>> clients;
};

absl::Status ControlServer::AddDevice(const std::string& vm_name, const Bdf& device,
                                      const std::string& socket_path, std::shared_ptr<Shim> shim) {
  const std::lock_guard lock(mutex_);
  if (const auto found = machines_.find(vm_name); found != machines_.end()) {
    found->second->sockets[device] = socket_path;
    return absl::OkStatus();
  }
  auto machine = std::make_shared<Machine>();
  machine->name = vm_name;
  machine->path = std::filesystem::path(socket_path).replace_filename("control.sock");
  machine->shim = std::move(shim);
  machine->sockets[device] = socket_path;
  ASSIGN_OR_RETURN(machine->listener, ListenAt(machine->path, SOCK_SEQPACKET));
  machine->id = loop_.Add(machine->listener.get(), [this, machine] { Accept(machine); });
  loop_.Arm(machine->id, EPOLLIN);
  machines_[vm_name] = std::move(machine);
  return absl::OkStatus();
}

void ControlServer::RemoveDevice(const std::string& vm_name, const Bdf& device) {
  const std::lock_guard lock(mutex_);
  const auto found = machines_.find(vm_name);
  if (found == machines_.end()) return;
  Machine& machine = *found->second;
  machine.sockets.erase(device);
  if (!machine.sockets.empty()) return;
  loop_.Remove(machine.id);
  RemoveSocket(machine.path);
  for (const auto& client : std::exchange(machine.clients, {})) {
    loop_.Remove(client->id);
    shutdown(client->socket.get(), SHUT_RDWR);
  }
  machines_.erase(found);
}

void ControlServer::Accept(const std::shared_ptr<Machine>& machine) {
  const std::lock_guard lock(mutex_);
  if (machine->sockets.empty()) return;
  auto client = std::make_shared<Client>();
  client->socket = FileDescriptor(
      accept4(machine->listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!client->socket.valid()) {
    log::Error({}, "{}: accept: {}", machine->path, absl::ErrnoToStatus(errno, "").ToString());
  } else if (machine->clients.size() >= kMaxClients) {
    log::Warn({}, "{}: refused a client, {} are connected", machine->path, kMaxClients);
  } else {
    client->id = loop_.Add(client->socket.get(), [this, machine, client] {
      workers_.Post(machine->path, [this, machine, client] { Serve(machine, client); });
    });
    machine->clients.insert(client);
    loop_.Arm(client->id, EPOLLIN);
  }
  loop_.Arm(machine->id, EPOLLIN);
}

void ControlServer::Serve(const std::shared_ptr<Machine>& machine,
                          const std::shared_ptr<Client>& client) {
  absl::StatusOr<bool> served = true;
  for (int i = 0; i < kPacketsPerTurn && served.ok() && *served; ++i) {
    served = ServeOne(*machine, client);
  }
  if (served.ok()) return loop_.Arm(client->id, EPOLLIN);
  loop_.Remove(client->id);
  const std::lock_guard lock(mutex_);
  machine->clients.erase(client);
}

absl::StatusOr<bool> ControlServer::ServeOne(const Machine& machine,
                                             const std::shared_ptr<Client>& client) {
  char packet[kLongestRequest];
  const ssize_t size = recv(client->socket.get(), packet, sizeof(packet), MSG_DONTWAIT);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (size <= 0) return absl::UnavailableError("the client is gone");
  std::map<Bdf, std::string> sockets;
  {
    const std::lock_guard lock(mutex_);
    sockets = machine.sockets;
  }
  auto reply = [client](const std::string& message) {
    // A client that takes no replies has them dropped with its connection.
    const ssize_t sent =
        send(client->socket.get(), message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) shutdown(client->socket.get(), SHUT_RDWR);
  };
  HandleControlRequest(absl::string_view(packet, static_cast<size_t>(size)), sockets, *machine.shim,
                       reply);
  return true;
}

}  // namespace nestor::agent
