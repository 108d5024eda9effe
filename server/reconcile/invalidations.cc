#include "server/reconcile/invalidations.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"

namespace nestor::server {

absl::StatusOr<int64_t> Invalidations::Add(const std::string& binding, Done done) {
  if (waiting_.size() >= kMaxInFlight) {
    const absl::Status full =
        errors::QueueFull("host's queue of invalidations", absl::Milliseconds(250));
    done(full);
    return full;
  }
  waiting_.emplace(++last_id_, Waiting{binding, std::move(done)});
  return last_id_;
}

absl::Status Invalidations::Answer(const v1::InvalidationResult& result) {
  auto waiting = waiting_.extract(result.id());
  if (waiting.empty()) {
    return errors::ProtocolError(absl::StrCat("nobody waits for invalidation ", result.id()));
  }
  const Waiting& asked = waiting.mapped();
  asked.done(result.has_failure() ? errors::InvalidationFailed(asked.binding, result.failure())
                                  : absl::OkStatus());
  return absl::OkStatus();
}

void Invalidations::EndAll(const absl::Status& status) {
  for (const auto& [id, waiting] : std::exchange(waiting_, {})) waiting.done(status);
}

}  // namespace nestor::server
