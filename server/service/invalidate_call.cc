#include "server/service/invalidate_call.h"

#include <chrono>
#include <string>
#include <utility>

#include "api/support/errors.h"
#include "api/support/grpc_status.h"
#include "server/core/validation.h"

namespace nestor::server {
namespace {

// For callers that set no deadline, or a longer one: as long as a step of a kernel may take.
constexpr auto kLongest = std::chrono::seconds(30);

absl::Status Stopping() { return errors::Unavailable("the server is stopping", absl::Seconds(1)); }

}  // namespace

InvalidateCall* InvalidateCall::Start(AgentSessions& sessions, ParkedCalls& parked,
                                      const Caller& caller,
                                      const v1::InvalidateCacheRequest& request) {
  std::shared_ptr<InvalidateCall> call(new InvalidateCall(parked));
  call->self_ = call;
  call->Begin(sessions, caller, request);
  return call.get();
}

void InvalidateCall::Begin(AgentSessions& sessions, const Caller& caller,
                           const v1::InvalidateCacheRequest& request) {
  if (absl::Status status = CheckClient(caller); !status.ok()) return End(status);
  if (absl::Status status = Validate(request); !status.ok()) return End(status);
  const std::weak_ptr<InvalidateCall> weak = self_;
  ticket_ = parked_.Add([weak] {
    if (auto held = weak.lock()) held->End(Stopping());
  });
  if (ticket_ == 0) return End(Stopping());
  alarm_.Set(std::chrono::system_clock::now() + kLongest, [weak,
                                                           name = request.name()](bool expired) {
    auto held = weak.lock();
    if (!held || !expired) return;
    held->End(errors::WaitTimeout(name, "its host has not answered; the kernel may still do it"));
  });
  sessions.Invalidate(request, [weak](const absl::Status& status) {
    if (auto held = weak.lock()) held->End(status);
  });
}

void InvalidateCall::End(const absl::Status& status) {
  std::lock_guard lock(mutex_);
  if (std::exchange(finished_, true)) return;
  Finish(ToGrpcStatus(status));
}

void InvalidateCall::OnCancel() { End(absl::CancelledError("cancelled")); }

void InvalidateCall::OnDone() {
  parked_.Remove(ticket_);
  alarm_.Cancel();
  auto last = std::move(self_);
}

}  // namespace nestor::server
