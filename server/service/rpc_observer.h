// Sees every call that a server of this process answers, whatever service it is of.
#pragma once

#include <grpcpp/support/server_interceptor.h>
#include <grpcpp/support/status_code_enum.h>

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace nestor::server {

// Called on gRPC's threads: thread-safe and quick. `method` is "/package.Service/Method", of
// a service that is there: an unknown method is no call of any.
class RpcObserver {
 public:
  virtual ~RpcObserver() = default;
  virtual void OnBegin(absl::string_view method, bool streaming) = 0;
  // `code` is CANCELLED where the caller was gone before there was an answer.
  virtual void OnEnd(absl::string_view method, bool streaming, grpc::StatusCode code,
                     absl::Duration duration) = 0;
};

// To be given to a grpc::ServerBuilder. `observer` must outlive the server.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeRpcInterceptors(
    RpcObserver& observer);

}  // namespace nestor::server
