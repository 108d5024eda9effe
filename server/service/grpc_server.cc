#include "server/service/grpc_server.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/auth_metadata_processor.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "api/support/grpc_status.h"
#include "api/support/status_macros.h"
#include "server/service/caller.h"

namespace nestor::server {
namespace {

// In front of every call of the admin server: some of its services are gRPC's own.
class OperatorsOnly final : public grpc::AuthMetadataProcessor {
 public:
  bool IsBlocking() const override { return false; }
  grpc::Status Process(const InputMetadata& /*metadata*/, grpc::AuthContext* context,
                       OutputMetadata* /*consumed*/, OutputMetadata* /*response*/) override {
    return ToGrpcStatus(CheckOperator(CallerOf(*context)));
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const GrpcServerOptions& options) {
  ASSIGN_OR_RETURN(auto credentials,
                   MakeServerCredentials(options.security, options.address, absl::Now()));
  std::unique_ptr<GrpcServer> server(new GrpcServer());
  RETURN_IF_ERROR(
      server->Listen(options, std::move(credentials), {.reflection = options.reflection}));
  return server;
}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::StartAdmin(
    const GrpcServerOptions& options) {
  ASSIGN_OR_RETURN(auto credentials,
                   MakeServerCredentials(options.security, options.address, absl::Now()));
  // gRPC's plaintext credentials take none; on plaintext everybody is local.
  if (!options.security.insecure) {
    credentials->SetAuthMetadataProcessor(std::make_shared<OperatorsOnly>());
  }
  std::unique_ptr<GrpcServer> server(new GrpcServer());
  RETURN_IF_ERROR(
      server->Listen(options, std::move(credentials), {.reflection = true, .channelz = true}));
  return server;
}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::StartHealth(const std::string& address) {
  std::unique_ptr<GrpcServer> server(new GrpcServer());
  RETURN_IF_ERROR(server->Listen({.address = address}, grpc::InsecureServerCredentials(), {}));
  return server;
}

absl::Status GrpcServer::Listen(const GrpcServerOptions& options,
                                std::shared_ptr<grpc::ServerCredentials> credentials,
                                const Diagnostics& diagnostics) {
  grpc::EnableDefaultHealthCheckService(true);
  auto diagnostics_option = MakeDiagnosticsOption(diagnostics);
  grpc::ServerBuilder builder;
  builder.SetOption(std::move(diagnostics_option));
  int port = -1;
  builder.AddListeningPort(options.address, std::move(credentials), &port);
  for (grpc::Service* service : options.services) builder.RegisterService(service);
  if (options.services.empty()) builder.RegisterCallbackGenericService(&no_methods_);
  builder.SetMaxReceiveMessageSize(4 << 20);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 << 10);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 1000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  if (options.observer != nullptr) {
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> factories;
    factories.push_back(MakeRpcInterceptors(*options.observer));
    builder.experimental().SetInterceptorCreators(std::move(factories));
  }
  server_ = builder.BuildAndStart();
  // Unix sockets report port 1.
  if (server_ == nullptr || port <= 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot listen on ", options.address,
                     ": it is in use, or may not be used; choose another address, or stop the "
                     "process that holds it"));
  }
  return absl::OkStatus();
}

void GrpcServer::Drain(absl::Duration deadline) {
  server_->GetHealthCheckService()->SetServingStatus(false);
  server_->Shutdown(absl::ToChronoTime(absl::Now() + deadline));
  server_->Wait();
}

}  // namespace nestor::server
