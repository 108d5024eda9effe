// Which session speaks for each host, and until when. In memory and apart from all other
// state, so that liveness never queues behind work.
#pragma once

#include <mutex>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "api/support/clock.h"

namespace nestor::server {

// Hosts are resource names. Thread-safe; no call waits for anything.
class HostLeases {
 public:
  // A host silent for `ttl` has no lease. `clock` must outlive this.
  HostLeases(absl::Duration ttl, const Clock& clock) : ttl_(ttl), clock_(clock) {}

  absl::Duration ttl() const { return ttl_; }
  // From now on `session_id` speaks for `host`.
  void Grant(const std::string& host, const std::string& session_id);
  // ABORTED NOT_SESSION_OWNER.
  absl::Status Renew(const std::string& host, const std::string& session_id);
  // What is left of the lease, more than nothing, if `session_id` still has it. A lease that
  // has run out is taken away: the answer is ZeroDuration, once. Nothing to whoever has none.
  std::optional<absl::Duration> Left(const std::string& host, const std::string& session_id);
  bool IsHeld(const std::string& host) const;

 private:
  struct Lease {
    std::string session_id;
    absl::Time renewed;
  };

  const absl::Duration ttl_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  absl::flat_hash_map<std::string, Lease> leases_;
};

}  // namespace nestor::server
