// The unix socket of LocalAgentService.
#pragma once

#include <grpcpp/server.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "agent/local/local_service.h"

namespace nestor::agent {

// Thread-safe.
class LocalServer {
 public:
  // Listens at `path` with mode 0600, in place of what a dead process left there; the caller
  // holds the host's lock. Sets the process's umask for a moment: to be called before other
  // threads make files. `service` must outlive this. FAILED_PRECONDITION: it cannot listen.
  static absl::StatusOr<std::unique_ptr<LocalServer>> Start(const std::string& path,
                                                            LocalService& service);
  // Stops.
  ~LocalServer();

  // Cancels the calls that run and takes no more. Idempotent.
  void Stop();

 private:
  explicit LocalServer(std::unique_ptr<grpc::Server> server) : server_(std::move(server)) {}

  const std::unique_ptr<grpc::Server> server_;
};

}  // namespace nestor::agent
