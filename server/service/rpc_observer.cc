#include "server/service/rpc_observer.h"

#include "absl/time/clock.h"

namespace nestor::server {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerRpcInfo;

// Lives as long as its call.
class CallInterceptor final : public grpc::experimental::Interceptor {
 public:
  CallInterceptor(RpcObserver& observer, const ServerRpcInfo& call)
      : observer_(observer),
        method_(call.method()),
        streaming_(call.type() != ServerRpcInfo::Type::UNARY),
        begun_(absl::GetCurrentTimeNanos()) {
    observer_.OnBegin(method_, streaming_);
  }
  ~CallInterceptor() override {
    observer_.OnEnd(method_, streaming_, code_,
                    absl::Nanoseconds(absl::GetCurrentTimeNanos() - begun_));
  }

  void Intercept(InterceptorBatchMethods* batch) override {
    if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      code_ = batch->GetSendStatus().error_code();
    }
    batch->Proceed();
  }

 private:
  RpcObserver& observer_;
  const char* const method_;  // gRPC's, as long as the server is there
  const bool streaming_;
  const int64_t begun_;
  grpc::StatusCode code_ = grpc::StatusCode::CANCELLED;
};

class InterceptorFactory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit InterceptorFactory(RpcObserver& observer) : observer_(observer) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(ServerRpcInfo* call) override {
    return new CallInterceptor(observer_, *call);
  }

 private:
  RpcObserver& observer_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeRpcInterceptors(
    RpcObserver& observer) {
  return std::make_unique<InterceptorFactory>(observer);
}

}  // namespace nestor::server
