// One InvalidateCache call, parked until the host has answered.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <mutex>

#include "nestor/v1/pasid_binding_service.pb.h"
#include "server/reconcile/agent_sessions.h"
#include "server/service/caller.h"
#include "server/service/parked_calls.h"

namespace nestor::server {

// Keeps itself until gRPC is done with it.
class InvalidateCall final : public grpc::ServerUnaryReactor {
 public:
  static InvalidateCall* Start(AgentSessions& sessions, ParkedCalls& parked, const Caller& caller,
                               const v1::InvalidateCacheRequest& request);

  void OnCancel() override;
  void OnDone() override;

 private:
  explicit InvalidateCall(ParkedCalls& parked) : parked_(parked) {}

  void Begin(AgentSessions& sessions, const Caller& caller,
             const v1::InvalidateCacheRequest& request);
  void End(const absl::Status& status);

  ParkedCalls& parked_;
  std::shared_ptr<InvalidateCall> self_;
  int64_t ticket_ = 0;
  grpc::Alarm alarm_;

  std::mutex mutex_;
  bool finished_ = false;
};

}  // namespace nestor::server
