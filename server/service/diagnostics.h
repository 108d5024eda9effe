// Which of gRPC's services about a server itself that server offers.
#pragma once

#include <grpcpp/impl/server_builder_option.h>

#include <memory>

namespace nestor::server {

struct Diagnostics {
  bool reflection = false;  // the services and their messages, for tools such as grpcurl
  bool channelz = false;    // connections and calls of the whole process
};

// For ServerBuilder::SetOption of a builder made after this. gRPC knows both services only for
// all servers of a process; with this option a server has those that are wanted.
std::unique_ptr<grpc::ServerBuilderOption> MakeDiagnosticsOption(const Diagnostics& wanted);

}  // namespace nestor::server
