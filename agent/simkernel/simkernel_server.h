// nestor-simkernel: a simulated kernel for the processes of this machine.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/simkernel/call_socket.h"
#include "agent/simkernel/client_process.h"
#include "agent/simkernel/end_table.h"
#include "api/support/file_descriptor.h"

namespace nestor::kernel {

// Serves the calls of nestorsim_wire.h, one after the other on one thread, one packet of a
// socket at a time, so that no client holds up the others for longer than a call takes. It waits
// for no client and believes none: what a packet says is numbers and addresses, checked as a
// kernel checks them.
//
// A close comes before every call that is made after it: hang-ups are handled between taking a
// call and doing it.
class SimkernelServer {
 public:
  // Takes connections at the unix socket `path` from now on. `kernel` must outlive this.
  // ALREADY_EXISTS: somebody listens there.
  static absl::StatusOr<std::unique_ptr<SimkernelServer>> Listen(SimKernel& kernel,
                                                                 const std::string& path);
  // Run has returned. Closes all simulated files and removes `path`.
  ~SimkernelServer();
  SimkernelServer(const SimkernelServer&) = delete;
  SimkernelServer& operator=(const SimkernelServer&) = delete;

  // Serves until Stop.
  void Run();
  // Has Run return soon. Thread-safe.
  void Stop();

 private:
  class Caller;

  SimkernelServer(SimKernel& kernel, std::string path, FileDescriptor listener);
  bool Watch(int fd, uint64_t id);
  void HandleEvent(uint64_t id);
  void Accept();
  void ServeCalls();
  // Takes what one end has: a call, or its end.
  void ServeEnd(EndTable::Id id);
  void CloseHungUp();
  // Does a call that came on a connection (`file` is null) or a file.
  void Serve(const std::shared_ptr<SimFile>& file, const ReceivedCall& received);
  int64_t Call(const std::shared_ptr<SimFile>& file, const ReceivedCall& received,
               FileDescriptor* descriptor);
  // The process with that number now: 0 or -errno.
  int FindProcess(pid_t pid, ClientProcess** process);
  void Forget(pid_t pid);
  void CloseEnd(EndTable::Id id);

  SimKernel& kernel_;
  const std::string path_;
  const FileDescriptor listener_;
  const FileDescriptor stop_;   // eventfd
  const FileDescriptor epoll_;  // of the listener, `stop_`, `ends_` and the processes' ends
  EndTable ends_;
  std::map<pid_t, ClientProcess> processes_;
  pid_t last_unreachable_ = 0;  // said in the log, once
};

}  // namespace nestor::kernel
