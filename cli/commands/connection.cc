#include "cli/commands/connection.h"

#include <grpcpp/create_channel.h>

#include <utility>

#include "api/support/grpc_address.h"

namespace nestor::cli {

Connection::Connection(std::string server,
                       const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                       absl::Duration call_timeout)
    : server_(std::move(server)),
      call_timeout_(call_timeout),
      channel_(grpc::CreateCustomChannel(server_, credentials, ClientChannelArguments())),
      hosts_(channel_),
      host_admin_(channel_),
      virtual_machines_(channel_),
      bindings_(channel_),
      watch_(channel_) {}

bool StreamWasBroken(const grpc::Status& status) {
  return status.ok() || status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::CANCELLED;
}

}  // namespace nestor::cli
