#include "server/service/agent_service.h"

#include <grpcpp/support/server_callback.h>

#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "api/support/errors.h"
#include "api/support/grpc_status.h"
#include "api/support/log.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "nestor/v1/agent_service.grpc.pb.h"
#include "server/service/caller.h"

namespace nestor::server {
namespace {

// The gRPC end of one Sync stream. gRPC owns the reactor until OnDone; the sessions hold a
// StreamHandle, which outlives it.
class SyncReactor;

class StreamHandle final : public AgentStream {
 public:
  explicit StreamHandle(SyncReactor* reactor) : reactor_(reactor) {}
  void Send(v1::SyncResponse message) override;
  void Close(absl::Status status) override;
  void ReadNext();
  // The reactor goes: what the sessions still say is dropped.
  void Detach() {
    std::lock_guard lock(mutex_);
    reactor_ = nullptr;
  }

 private:
  std::mutex mutex_;
  SyncReactor* reactor_;
};

class SyncReactor final : public grpc::ServerBidiReactor<v1::SyncRequest, v1::SyncResponse> {
 public:
  SyncReactor(AgentSessions& sessions, Caller caller)
      : sessions_(sessions),
        caller_(std::move(caller)),
        handle_(std::make_shared<StreamHandle>(this)) {
    if (absl::Status status = CheckAgent(caller_); status.ok()) {
      StartRead(&incoming_);
    } else {
      Refuse(std::move(status));
    }
  }

  void Send(v1::SyncResponse message) {
    std::lock_guard lock(mutex_);
    if (closing_) return;
    outgoing_.push_back(std::move(message));
    WriteNext();
  }

  void Close(absl::Status status) {
    std::lock_guard lock(mutex_);
    if (closing_) return;
    closing_ = std::move(status);
    WriteNext();
  }

  void ReadNext() {
    std::lock_guard lock(mutex_);
    if (!finished_) StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      // The agent half-closed or is gone.
      Close(absl::OkStatus());
      return;
    }
    if (absl::Status status = CheckMessage(); !status.ok()) {
      Refuse(std::move(status));
      return;
    }
    sessions_.OnMessage(handle_, std::move(incoming_), [handle = handle_] { handle->ReadNext(); });
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    outgoing_.pop_front();
    if (!ok) outgoing_.clear();
    WriteNext();
  }

  void OnCancel() override { Close(absl::CancelledError("the agent cancelled the stream")); }

  void OnDone() override {
    handle_->Detach();
    sessions_.OnClosed(handle_);
    delete this;
  }

 private:
  // An agent speaks for its own host only.
  absl::Status CheckMessage() const {
    if (!incoming_.has_hello()) return absl::OkStatus();
    return CheckAgentOf(caller_, incoming_.hello().host());
  }

  void Refuse(absl::Status status) {
    log::Warn({{"caller", Printable(caller_.name)}, {"error", ErrorReason(status)}},
              "refused an agent: {}", log::Text(status));
    Close(std::move(status));
  }

  // One write at a time; the end comes after the last.
  void WriteNext() {
    if (writing_ || finished_) return;
    if (!outgoing_.empty()) {
      writing_ = true;
      StartWrite(&outgoing_.front());
    } else if (closing_) {
      finished_ = true;
      Finish(ToGrpcStatus(*closing_));
    }
  }

  AgentSessions& sessions_;
  const Caller caller_;
  const std::shared_ptr<StreamHandle> handle_;
  v1::SyncRequest incoming_;

  std::mutex mutex_;
  std::deque<v1::SyncResponse> outgoing_;  // bounded by the session's window
  std::optional<absl::Status> closing_;
  bool writing_ = false;
  bool finished_ = false;
};

void StreamHandle::Send(v1::SyncResponse message) {
  std::lock_guard lock(mutex_);
  if (reactor_ != nullptr) reactor_->Send(std::move(message));
}

void StreamHandle::Close(absl::Status status) {
  std::lock_guard lock(mutex_);
  if (reactor_ != nullptr) reactor_->Close(std::move(status));
}

void StreamHandle::ReadNext() {
  std::lock_guard lock(mutex_);
  if (reactor_ != nullptr) reactor_->ReadNext();
}

class AgentService final : public v1::AgentService::CallbackService {
 public:
  explicit AgentService(AgentSessions& sessions) : sessions_(sessions) {}

  grpc::ServerBidiReactor<v1::SyncRequest, v1::SyncResponse>* Sync(
      grpc::CallbackServerContext* context) override {
    return new SyncReactor(sessions_, CallerOf(*context->auth_context()));
  }

  grpc::ServerUnaryReactor* RenewLease(grpc::CallbackServerContext* context,
                                       const v1::RenewLeaseRequest* request,
                                       v1::RenewLeaseResponse* response) override {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpcStatus(Renew(*context, *request, response)));
    return reactor;
  }

 private:
  absl::Status Renew(const grpc::CallbackServerContext& context,
                     const v1::RenewLeaseRequest& request, v1::RenewLeaseResponse* response) {
    RETURN_IF_ERROR(CheckAgentOf(CallerOf(*context.auth_context()), request.host()));
    ASSIGN_OR_RETURN(const absl::Duration ttl,
                     sessions_.Renew(request.host(), request.session_id()));
    response->mutable_lease_ttl()->set_seconds(absl::ToInt64Seconds(ttl));
    return absl::OkStatus();
  }

  AgentSessions& sessions_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAgentService(AgentSessions& sessions) {
  return std::make_unique<AgentService>(sessions);
}

}  // namespace nestor::server
