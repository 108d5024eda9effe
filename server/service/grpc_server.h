// A listening gRPC server with Nestor's limits.
#pragma once

#include <grpcpp/server.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/service/rpc_observer.h"

namespace nestor::server {

struct GrpcServerOptions {
  std::string address;  // "unix:PATH" or "HOST:PORT"
  bool insecure = false;
  std::vector<grpc::Service*> services;
  bool reflection = false;  // for every server of the process made from then on
  RpcObserver* observer = nullptr;  // null: none; must outlive the server
};

// Messages up to 4 MiB, 16 KiB of metadata, 1000 calls at a time on a connection (waits and
// watches are calls), keepalive pings at most every 10 s; grpc.health.v1. Thread-safe.
class GrpcServer {
 public:
  // INVALID_ARGUMENT: as CheckPlaintext. FAILED_PRECONDITION: the address is taken or cannot
  // be listened on.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcServerOptions& options);

  // Says NOT_SERVING, takes no new calls, and waits for those that run until `deadline` has
  // passed; then cancels them. Idempotent.
  void Drain(absl::Duration deadline);

 private:
  explicit GrpcServer(std::unique_ptr<grpc::Server> server) : server_(std::move(server)) {}
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace nestor::server
