#include "server/service/wait_call.h"

#include <chrono>
#include <utility>

#include "api/support/errors.h"
#include "api/support/grpc_status.h"
#include "server/core/explain.h"
#include "server/core/validation.h"

namespace nestor::server {
namespace {

constexpr auto kDefaultTimeout = std::chrono::seconds(30);

std::chrono::system_clock::duration TimeoutOf(const v1::WaitPasidBindingRequest& request) {
  if (!request.has_timeout()) return kDefaultTimeout;
  return std::chrono::duration_cast<std::chrono::system_clock::duration>(
      std::chrono::seconds(request.timeout().seconds()) +
      std::chrono::nanoseconds(request.timeout().nanos()));
}

bool IsThere(const v1::PasidBinding& binding, int64_t generation) {
  const v1::PasidBindingStatus& status = binding.status();
  return status.state() == v1::PasidBindingStatus::STATE_PROGRAMMED &&
         status.programmed_generation() >= generation;
}

bool NeverWillBe(const v1::PasidBinding& binding, int64_t generation) {
  const v1::PasidBindingStatus& status = binding.status();
  return status.observed_generation() >= generation &&
         status.failure().kind() == v1::Failure::KIND_PERMANENT;
}

}  // namespace

WaitCall* WaitCall::Start(ClusterState& state, ParkedCalls& parked, const Caller& caller,
                          const v1::WaitPasidBindingRequest& request,
                          v1::WaitPasidBindingResponse* response) {
  std::shared_ptr<WaitCall> call(new WaitCall(state, parked, request, response));
  call->self_ = call;
  call->Begin(caller);
  return call.get();
}

void WaitCall::Begin(const Caller& caller) {
  if (absl::Status status = CheckClient(caller); !status.ok()) return End(status);
  if (absl::Status status = Validate(request_); !status.ok()) return End(status);
  const std::weak_ptr<WaitCall> weak = self_;
  ticket_ = parked_.Add([weak] {
    if (auto held = weak.lock()) {
      held->End(errors::Unavailable("the server is stopping", absl::Seconds(1)));
    }
  });
  if (ticket_ == 0) return End(errors::Unavailable("the server is stopping", absl::Seconds(1)));
  subscription_ =
      state_.SubscribeTo(request_.name(), [weak](const std::vector<StateChange>& /*changes*/) {
        if (auto held = weak.lock()) held->Check();
      });
  alarm_.Set(std::chrono::system_clock::now() + TimeoutOf(request_), [weak](bool expired) {
    auto held = weak.lock();
    if (held && expired) held->TimeOut();
  });
  Check();
}

void WaitCall::Check() {
  v1::PasidBinding binding;
  state_.Read([&](const View& view) { binding = view.PasidBindingResource(request_.name()); });
  if (request_.want() == v1::WaitPasidBindingRequest::WANT_ABSENT) {
    if (binding.name().empty()) End(absl::OkStatus());
    return;
  }
  if (binding.name().empty()) return End(errors::NotFound(request_.name()));
  if (binding.metadata().has_delete_time()) return End(errors::Deleting(request_.name()));
  const int64_t generation =
      request_.generation() > 0 ? request_.generation() : binding.metadata().generation();
  if (IsThere(binding, generation)) return End(absl::OkStatus(), &binding);
  if (NeverWillBe(binding, generation)) {
    End(errors::BindingFailed(binding.name(), binding.status().failure()));
  }
}

void WaitCall::TimeOut() {
  std::string explanation = "it does not exist";
  state_.Read([&](const View& view) {
    if (view.pasid_bindings().Contains(request_.name())) {
      explanation = ExplainShortly(Explain(view, request_.name()));
    }
  });
  End(errors::WaitTimeout(request_.name(), explanation));
}

void WaitCall::End(const absl::Status& status, const v1::PasidBinding* binding) {
  std::lock_guard lock(mutex_);
  if (std::exchange(finished_, true)) return;
  if (binding != nullptr) *response_->mutable_pasid_binding() = *binding;
  Finish(ToGrpcStatus(status));
}

void WaitCall::OnCancel() { End(absl::CancelledError("cancelled")); }

void WaitCall::OnDone() {
  parked_.Remove(ticket_);
  // After this no listener runs; what may still hold a reference is the alarm.
  subscription_.reset();
  alarm_.Cancel();
  auto last = std::move(self_);
}

}  // namespace nestor::server
