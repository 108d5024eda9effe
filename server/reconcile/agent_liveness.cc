// Noticing that hosts fall silent.

#include "api/support/errors.h"
#include "api/support/log.h"
#include "server/core/host_claim.h"
#include "server/reconcile/agent_session.h"
#include "server/reconcile/agent_sessions.h"

namespace nestor::server {

void AgentSessions::WatchLease(const SessionPtr& session) {
  const std::optional<absl::Duration> left =
      leases_.Left(session->host_name(), session->session_id);
  if (!left.has_value()) return;
  if (*left > absl::ZeroDuration()) {
    loop_.PostAfter(*left, [this, session] { WatchLease(session); });
    return;
  }
  if (session->live) {
    End(session, errors::Unavailable("the lease ran out", kRetryAfter));
  }
  MarkUnknown(session->host);
}

void AgentSessions::ExpectHostsBack() {
  // Hosts that were connected to the server's life before this one have one lease to return.
  std::vector<std::string> hosts;
  state_.Read([&](const View& view) { hosts = ConnectedHosts(view); });
  loop_.PostAfter(leases_.ttl(), [this, hosts] {
    for (const std::string& host : hosts) {
      if (!leases_.IsHeld("hosts/" + host)) MarkUnknown(host);
    }
  });
}

void AgentSessions::MarkUnknown(const std::string& host) {
  if (sessions_.contains(host)) return;
  log::Warn({{"resource", "hosts/" + host}},
            "silent: what its kernel holds is unknown; nothing is freed");
  Transaction transaction;
  state_.Read([&](const View& view) { transaction = MarkHostUnknown(view, clock_.Now(), host); });
  store_.Commit(std::move(transaction), [host](const absl::StatusOr<int64_t>& revision) {
    // ABORTED: a session began in the same moment.
    if (!revision.ok() && !absl::IsAborted(revision.status())) {
      log::Error({{"resource", "hosts/" + host}}, "cannot record that it is silent: {}",
                 log::Text(revision.status()));
    }
  });
}

}  // namespace nestor::server
