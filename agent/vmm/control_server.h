// The control sockets of virtual machines, beside their device sockets.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "agent/core/host_state.h"
#include "agent/shim/shim.h"
#include "agent/vmm/epoll_loop.h"
#include "agent/vmm/serial_workers.h"

namespace nestor::agent {

// A machine's `control.sock` is there as long as one of its devices is. Thread-safe.
class ControlServer {
 public:
  // Of one machine; more are refused when they connect.
  static constexpr size_t kMaxClients = 8;

  // Requests of one machine are handled in order on `workers`; a shim that blocks holds one
  // of them. Both must outlive this, and have stopped before it goes.
  ControlServer(EpollLoop& loop, SerialWorkers& workers) : loop_(loop), workers_(workers) {}

  // `socket_path` is where the device's monitor connects; control.sock is made beside it. An
  // error, that it could not be made, leaves nothing.
  absl::Status AddDevice(const std::string& vm_name, const Bdf& device,
                         const std::string& socket_path, std::shared_ptr<Shim> shim);
  // Removes control.sock with the last device, and ends its connections. Unknown devices are
  // ignored.
  void RemoveDevice(const std::string& vm_name, const Bdf& device);

 private:
  struct Client;
  struct Machine;

  // On the loop's thread.
  void Accept(const std::shared_ptr<Machine>& machine);
  // On a worker: answers what has arrived, a bounded number of packets.
  void Serve(const std::shared_ptr<Machine>& machine, const std::shared_ptr<Client>& client);
  // False: nothing has arrived; an error: the client is gone.
  absl::StatusOr<bool> ServeOne(const Machine& machine, const std::shared_ptr<Client>& client);

  EpollLoop& loop_;
  SerialWorkers& workers_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Machine>> machines_;  // by name
};

}  // namespace nestor::agent
