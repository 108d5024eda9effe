#include "agent/shim/failure.h"

#include <optional>
#include <string>

#include "agent/core/kernel_error.h"
#include "api/support/proto_time.h"

namespace nestor::agent {
namespace {

v1::Failure MakeFailure(v1::Failure::Kind kind, absl::string_view reason,
                        absl::string_view message) {
  v1::Failure failure;
  failure.set_kind(kind);
  failure.set_reason(std::string(reason));
  failure.set_message(std::string(message));
  return failure;
}

void AddKernelError(const absl::Status& status, v1::Failure* failure) {
  const std::optional<KernelError> error = GetKernelError(status);
  if (!error.has_value()) return;
  v1::KernelError& kernel_error = *failure->mutable_kernel_error();
  kernel_error.set_operation(error->operation);
  kernel_error.set_object(error->object);
  kernel_error.set_error_number(error->error_number);
  kernel_error.set_error_name(ErrnoName(error->error_number));
}

}  // namespace

v1::Failure TransientFailure(absl::string_view reason, absl::string_view message) {
  return MakeFailure(v1::Failure::KIND_TRANSIENT, reason, message);
}

v1::Failure PermanentFailure(absl::string_view reason, absl::string_view message) {
  return MakeFailure(v1::Failure::KIND_PERMANENT, reason, message);
}

v1::Failure StepFailure(const absl::Status& status, const RetryDecision& decision) {
  v1::Failure failure = decision.retry_at.has_value()
                            ? TransientFailure(decision.reason, status.message())
                            : PermanentFailure(decision.reason, status.message());
  if (decision.retry_at.has_value()) {
    *failure.mutable_next_attempt_time() = ToTimestamp(*decision.retry_at);
  }
  AddKernelError(status, &failure);
  return failure;
}

v1::Failure FailureOf(const absl::Status& status) {
  const FailureClass found = Classify(status);
  v1::Failure failure = found.transient ? TransientFailure(found.reason, status.message())
                                        : PermanentFailure(found.reason, status.message());
  AddKernelError(status, &failure);
  return failure;
}

}  // namespace nestor::agent
