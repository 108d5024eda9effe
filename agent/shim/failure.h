// Failures as clients see them.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "agent/core/retry_policy.h"
#include "nestor/v1/resources.pb.h"

namespace nestor::agent {

// Waiting helps; the shim acts by itself when what is waited for comes.
v1::Failure TransientFailure(absl::string_view reason, absl::string_view message);
// Waits for a new generation.
v1::Failure PermanentFailure(absl::string_view reason, absl::string_view message);
// A failed step with its kernel call; `decision.retry_at` becomes the next attempt's time.
v1::Failure StepFailure(const absl::Status& status, const RetryDecision& decision);

// A status that is not OK, with its kernel call; who gets it may try again, the shim does not.
v1::Failure FailureOf(const absl::Status& status);

}  // namespace nestor::agent
