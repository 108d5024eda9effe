#include "agent/reconcile/server_session.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>

#include "api/support/errors.h"
#include "api/support/grpc_status.h"
#include "api/support/log.h"
#include "api/support/proto_time.h"
#include "nestor/v1/agent_service.grpc.pb.h"

namespace nestor::agent {

// Lives on the loop; gRPC's threads only post to it.
class ServerSession::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(EventLoop& loop, HostReconciler& reconciler, std::shared_ptr<grpc::Channel> channel,
       ReconnectPolicy policy, OnSession on_session)
      : loop_(loop),
        reconciler_(reconciler),
        stub_(v1::AgentService::NewStub(std::move(channel))),
        policy_(policy),
        on_session_(std::move(on_session)),
        delay_(policy.first) {}

  void Connect();
  void OnMessage(v1::SyncResponse message);
  void OnWritten();
  void OnBroken();
  void OnClosed(const absl::Status& status);
  void SendPending();
  void CloseStream();
  void Stop();
  // Blocks until Stop ran and gRPC has let go of every call.
  void WaitStopped();

 private:
  struct Renewal {
    grpc::ClientContext context;
    v1::RenewLeaseRequest request;
    v1::RenewLeaseResponse response;
  };

  void RenewLater();
  void Renew();
  void OnRenewed(uint64_t stream, const absl::Status& status);
  void CallEnded();
  double Jitter(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random_);
  }

  EventLoop& loop_;
  HostReconciler& reconciler_;
  std::unique_ptr<v1::AgentService::Stub> stub_;
  const ReconnectPolicy policy_;
  const OnSession on_session_;
  std::mt19937_64 random_{std::random_device{}()};
  absl::Duration delay_;
  absl::Time connected_at_;
  std::string last_error_;

  // The stream while it is open. The next one begins only after OnClosed of the one before,
  // so its events need no telling apart; a timer's do, by the number.
  Stream* stream_ = nullptr;
  uint64_t stream_number_ = 0;
  bool writing_ = false;
  std::shared_ptr<Renewal> renewal_;

  bool stopping_ = false;
  int calls_ = 0;  // that gRPC has not let go of
  std::mutex stopped_mutex_;
  std::condition_variable stopped_changed_;
  bool stopped_ = false;
};

// One Sync call. Deletes itself when gRPC is done with it.
class ServerSession::Stream : public grpc::ClientBidiReactor<v1::SyncRequest, v1::SyncResponse> {
 public:
  Stream(EventLoop& loop, std::shared_ptr<Impl> session, v1::AgentService::Stub& stub)
      : loop_(loop), session_(std::move(session)) {
    stub.async()->Sync(&context_, this);
    // Keeps the call open while reads and writes are started from the loop.
    AddHold();
    StartRead(&incoming_);
    StartCall();
  }

  void Write(v1::SyncRequest message) {
    outgoing_ = std::move(message);
    StartWrite(&outgoing_);
  }

  void ReadNext() { StartRead(&incoming_); }

  // No Write or ReadNext may follow; OnDone will.
  void Cancel() {
    context_.TryCancel();
    RemoveHold();
  }
  // The same where the other side has ended the call, so that its status is kept.
  void LetEnd() { RemoveHold(); }

  void OnReadDone(bool ok) override {
    if (!ok) {
      loop_.Post([session = session_] { session->OnBroken(); });
      return;
    }
    loop_.Post([session = session_, message = std::move(incoming_)]() mutable {
      session->OnMessage(std::move(message));
    });
  }

  void OnWriteDone(bool ok) override {
    // A failed write is followed by a failed read.
    if (ok) loop_.Post([session = session_] { session->OnWritten(); });
  }

  void OnDone(const grpc::Status& status) override {
    loop_.Post([session = std::move(session_), error = FromGrpcStatus(status)] {
      session->OnClosed(error);
    });
    delete this;
  }

 private:
  EventLoop& loop_;
  std::shared_ptr<Impl> session_;
  grpc::ClientContext context_;
  v1::SyncRequest outgoing_;
  v1::SyncResponse incoming_;
};

void ServerSession::Impl::Connect() {
  if (stopping_) return;
  connected_at_ = absl::Now();
  ++stream_number_;
  ++calls_;
  stream_ = new Stream(loop_, shared_from_this(), *stub_);
  writing_ = true;
  stream_->Write(reconciler_.BeginSession());
}

void ServerSession::Impl::OnMessage(v1::SyncResponse message) {
  if (stream_ == nullptr) return;
  if (absl::Status status = reconciler_.TakeIn(message); !status.ok()) {
    log::Error({{"resource", reconciler_.host()}, {"error", ErrorReason(status)}},
               "closing the session: {}", log::Text(status));
    CloseStream();
    return;
  }
  if (message.has_welcome()) {
    const v1::Fence& fence = message.welcome().fence();
    log::Info({{"resource", reconciler_.host()}, {"epoch", fence.epoch()}},
              "session {} began, store revision {}", message.welcome().session_id(),
              fence.head_revision());
    last_error_.clear();
    on_session_(true, fence.epoch());
    RenewLater();
  }
  SendPending();
  stream_->ReadNext();
}

void ServerSession::Impl::OnWritten() {
  writing_ = false;
  SendPending();
}

void ServerSession::Impl::OnBroken() {
  if (stream_ != nullptr) std::exchange(stream_, nullptr)->LetEnd();
}

void ServerSession::Impl::CloseStream() {
  if (stream_ != nullptr) std::exchange(stream_, nullptr)->Cancel();
}

void ServerSession::Impl::SendPending() {
  if (stream_ == nullptr || writing_) return;
  if (auto results = reconciler_.NextResults()) {
    writing_ = true;
    stream_->Write(std::move(*results));
  }
}

void ServerSession::Impl::OnClosed(const absl::Status& status) {
  CallEnded();
  on_session_(false, 0);
  if (stopping_) return;
  // Told once, not at each attempt.
  if (std::string error = log::Text(status); error != last_error_) {
    log::Warn({{"resource", reconciler_.host()}, {"error", ErrorReason(status)}},
              "no session with the server: {}; trying again", error);
    last_error_ = std::move(error);
  }
  if (absl::Now() - connected_at_ >= policy_.healthy) delay_ = policy_.first;
  loop_.PostAfter(delay_ * Jitter(0.5, 1.0), [self = shared_from_this()] { self->Connect(); });
  delay_ = std::min(delay_ * 2, policy_.highest);
}

void ServerSession::Impl::RenewLater() {
  const absl::Duration ttl = FromProtoDuration(reconciler_.welcome()->lease_ttl());
  loop_.PostAfter(ttl * Jitter(0.2, 0.3), [self = shared_from_this(), stream = stream_number_] {
    if (stream == self->stream_number_ && self->stream_ != nullptr) self->Renew();
  });
}

void ServerSession::Impl::Renew() {
  const absl::Duration ttl = FromProtoDuration(reconciler_.welcome()->lease_ttl());
  auto call = std::make_shared<Renewal>();
  renewal_ = call;
  ++calls_;
  call->request.set_host(reconciler_.host());
  call->request.set_session_id(reconciler_.welcome()->session_id());
  call->context.set_deadline(absl::ToChronoTime(absl::Now() + ttl / 4));
  auto done = [self = shared_from_this(), call, stream = stream_number_](grpc::Status status) {
    self->loop_.Post(
        [self, stream, error = FromGrpcStatus(status)] { self->OnRenewed(stream, error); });
  };
  stub_->async()->RenewLease(&call->context, &call->request, &call->response, std::move(done));
}

void ServerSession::Impl::OnRenewed(uint64_t stream, const absl::Status& status) {
  CallEnded();
  if (stream != stream_number_ || stream_ == nullptr) return;
  if (absl::IsAborted(status)) {
    log::Warn({{"resource", reconciler_.host()}, {"error", ErrorReason(status)}},
              "the server no longer owns this session: {}", log::Text(status));
    CloseStream();
    return;
  }
  RenewLater();
}

void ServerSession::Impl::CallEnded() {
  if (--calls_ > 0 || !stopping_) return;
  std::lock_guard lock(stopped_mutex_);
  stopped_ = true;
  stopped_changed_.notify_all();
}

void ServerSession::Impl::Stop() {
  if (std::exchange(stopping_, true)) return;
  CloseStream();
  if (renewal_ != nullptr) renewal_->context.TryCancel();
  // One more end than calls, so that this is the last where there is none.
  ++calls_;
  CallEnded();
}

void ServerSession::Impl::WaitStopped() {
  std::unique_lock lock(stopped_mutex_);
  stopped_changed_.wait(lock, [this] { return stopped_; });
}

ServerSession::ServerSession(EventLoop& loop, HostReconciler& reconciler,
                             std::shared_ptr<grpc::Channel> channel, ReconnectPolicy policy,
                             OnSession on_session)
    : loop_(loop),
      impl_(std::make_shared<Impl>(loop, reconciler, std::move(channel), policy,
                                   std::move(on_session))) {}

ServerSession::~ServerSession() = default;

void ServerSession::Start() {
  loop_.Post([impl = impl_] { impl->Connect(); });
}

void ServerSession::Stop() {
  loop_.Post([impl = impl_] { impl->Stop(); });
  impl_->WaitStopped();
}

void ServerSession::Restart() { impl_->CloseStream(); }

void ServerSession::SendPending() { impl_->SendPending(); }

}  // namespace nestor::agent
