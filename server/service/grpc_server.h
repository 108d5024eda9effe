// A listening gRPC server with Nestor's limits.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "api/support/tls_credentials.h"
#include "server/service/diagnostics.h"
#include "server/service/rpc_observer.h"

namespace nestor::server {

struct GrpcServerOptions {
  std::string address;  // "unix:PATH" or "HOST:PORT"
  TransportSecurity security = {};
  std::vector<grpc::Service*> services = {};
  bool reflection = false;
  RpcObserver* observer = nullptr;  // null: none; must outlive the server
};

// Messages up to 4 MiB, 16 KiB of metadata, 1000 calls at a time on a connection (waits and
// watches are calls), keepalive pings at most every 10 s; grpc.health.v1. All services of a
// server answer on its address, so those for other callers are another server's. Thread-safe.
class GrpcServer {
 public:
  // Errors of MakeServerCredentials. FAILED_PRECONDITION too: the address is taken or cannot be
  // listened on.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcServerOptions& options);

  // For operators alone, whom their certificates name: `options.services`, reflection in any
  // case, and gRPC's channelz, which shows the connections of the whole process. Errors as above.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> StartAdmin(const GrpcServerOptions& options);

  // grpc.health.v1 and nothing else, in plaintext on any address: for probes that have no
  // certificate. FAILED_PRECONDITION as above.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> StartHealth(const std::string& address);

  // Says NOT_SERVING, takes no new calls, and waits for those that run until `deadline` has
  // passed; then cancels them. Idempotent.
  void Drain(absl::Duration deadline);

 private:
  GrpcServer() = default;
  absl::Status Listen(const GrpcServerOptions& options,
                      std::shared_ptr<grpc::ServerCredentials> credentials,
                      const Diagnostics& diagnostics);

  // Answers UNIMPLEMENTED, in place of services: gRPC starts no server that has none of ours.
  grpc::CallbackGenericService no_methods_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace nestor::server
