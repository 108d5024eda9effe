// The way to a server.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/security/credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "api/support/grpc_status.h"
#include "nestor/v1/host_admin_service.grpc.pb.h"
#include "nestor/v1/host_service.grpc.pb.h"
#include "nestor/v1/pasid_binding_service.grpc.pb.h"
#include "nestor/v1/virtual_machine_service.grpc.pb.h"
#include "nestor/v1/watch_service.grpc.pb.h"

namespace nestor::cli {

// A channel and the stubs on it. Opening one does not yet connect.
class Connection {
 public:
  // `call_timeout` bounds each unary call.
  Connection(std::string server, const std::shared_ptr<grpc::ChannelCredentials>& credentials,
             absl::Duration call_timeout);

  // Makes one unary call, e.g. Call(connection.hosts(), &v1::HostService::Stub::GetHost,
  // request). A server that cannot be reached answers UNAVAILABLE at once.
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Call(Stub& stub,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + call_timeout_));
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    return response;
  }

  v1::HostService::Stub& hosts() { return hosts_; }
  // Of the admin server; other servers do not have it.
  v1::HostAdminService::Stub& host_admin() { return host_admin_; }
  v1::VirtualMachineService::Stub& virtual_machines() { return virtual_machines_; }
  v1::PasidBindingService::Stub& bindings() { return bindings_; }
  v1::WatchService::Stub& watch() { return watch_; }

  // As it was given.
  const std::string& server() const { return server_; }

 private:
  const std::string server_;
  const absl::Duration call_timeout_;
  const std::shared_ptr<grpc::Channel> channel_;
  v1::HostService::Stub hosts_;
  v1::HostAdminService::Stub host_admin_;
  v1::VirtualMachineService::Stub virtual_machines_;
  v1::PasidBindingService::Stub bindings_;
  v1::WatchService::Stub watch_;
};

// Whether a stream that ended so is to be opened again: the server, which has no end for
// streams of its own, or the way to it went away.
bool StreamWasBroken(const grpc::Status& status);

}  // namespace nestor::cli
