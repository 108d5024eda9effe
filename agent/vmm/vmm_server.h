// The sockets at which virtual machine monitors find their devices.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/host_state.h"
#include "agent/shim/shim.h"
#include "agent/vmm/control_server.h"
#include "agent/vmm/epoll_loop.h"
#include "agent/vmm/serial_workers.h"
#include "api/support/file_descriptor.h"

namespace nestor::agent {

struct VmmServerOptions {
  // So many machines can be inside a blocking call of their shims at once.
  int workers = 4;
};

// Serves vfio-user, one unix socket per device of each virtual machine, and a control socket
// (nestor_control.h) beside them.
//
// A socket has one client at a time: the next one waits until the first is gone. Messages
// of one machine are handled in order and one at a time, so a machine whose shim blocks
// holds one worker and no other machine. Thread-safe.
class VmmServer {
 public:
  // Sockets are made under `directory`; see VmmSocketPath.
  static absl::StatusOr<std::unique_ptr<VmmServer>> Start(std::string directory,
                                                          const VmmServerOptions& options = {});
  // Stops.
  ~VmmServer();

  // Listens for the monitor of a device. ALREADY_EXISTS: it was added. INVALID_ARGUMENT: as
  // VmmSocketPath. Another code: the socket could not be made. An error leaves nothing.
  absl::Status AddDevice(const std::string& vm_name, const Bdf& device, std::shared_ptr<Shim> shim);
  // Removes the socket and ends its connection. Does not wait: the shim hears of the
  // disconnect from a worker. Unknown devices are ignored.
  void RemoveDevice(const std::string& vm_name, const Bdf& device);
  // Removes every device, waits until each shim has heard of it, and joins the threads.
  // Idempotent; must not be called from a shim.
  void Stop();

 private:
  struct Connection;
  struct Endpoint;
  using Key = std::pair<std::string, Bdf>;  // vm_name, device

  VmmServer(std::string directory, const VmmServerOptions& options, std::unique_ptr<EpollLoop> loop,
            FileDescriptor spare);

  // On the loop's thread: takes the client that waits, and arms for the next one only when
  // this one is gone.
  void Accept(const std::shared_ptr<Endpoint>& endpoint);
  // Takes the client off the backlog and closes it where no descriptor is left for it.
  void RefuseOne(int listener);
  // On a worker: handles what has arrived, a bounded number of messages.
  void Serve(const std::shared_ptr<Endpoint>& endpoint, Connection& connection);
  // On a worker: tells the shim and forgets the connection.
  void End(const std::shared_ptr<Endpoint>& endpoint, Connection& connection);
  void CloseLocked(Endpoint& endpoint);

  const std::string directory_;
  std::mutex mutex_;
  std::condition_variable connection_ended_;
  std::map<Key, std::shared_ptr<Endpoint>> endpoints_;
  int connections_ = 0;
  FileDescriptor spare_;  // on the loop's thread
  SerialWorkers workers_;
  const std::unique_ptr<EpollLoop> loop_;
  ControlServer control_;
};

}  // namespace nestor::agent
