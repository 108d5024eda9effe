// One WaitPasidBinding call, parked until the binding is where the caller wants it.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <mutex>

#include "nestor/v1/pasid_binding_service.pb.h"
#include "server/reconcile/cluster_state.h"
#include "server/service/caller.h"
#include "server/service/parked_calls.h"

namespace nestor::server {

// Keeps itself until gRPC is done with it.
class WaitCall final : public grpc::ServerUnaryReactor {
 public:
  static WaitCall* Start(ClusterState& state, ParkedCalls& parked, const Caller& caller,
                         const v1::WaitPasidBindingRequest& request,
                         v1::WaitPasidBindingResponse* response);

  void OnCancel() override;
  void OnDone() override;

 private:
  WaitCall(ClusterState& state, ParkedCalls& parked, const v1::WaitPasidBindingRequest& request,
           v1::WaitPasidBindingResponse* response)
      : state_(state), parked_(parked), request_(request), response_(response) {}

  void Begin(const Caller& caller);
  // Ends the call if the binding is where it is wanted, or never will be.
  void Check();
  void TimeOut();
  void End(const absl::Status& status, const v1::PasidBinding* binding = nullptr);

  ClusterState& state_;
  ParkedCalls& parked_;
  const v1::WaitPasidBindingRequest request_;
  v1::WaitPasidBindingResponse* const response_;
  std::shared_ptr<WaitCall> self_;
  int64_t ticket_ = 0;
  std::unique_ptr<StateSubscription> subscription_;
  grpc::Alarm alarm_;

  std::mutex mutex_;
  bool finished_ = false;
};

}  // namespace nestor::server
