// What an agent's Hello means for the store: the server's claim of a host's session.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "nestor/v1/agent_service.pb.h"
#include "server/core/view.h"
#include "server/store/store.h"

namespace nestor::server {

// The host (id) that Hello names; empty where it names none that may exist.
std::string HostOf(const v1::Hello& hello);

// INVALID_ARGUMENT PROTOCOL_ERROR: Hello lacks what it must have, or names what it must not.
absl::Status CheckHello(const v1::Hello& hello);
// INVALID_ARGUMENT PROTOCOL_ERROR: a device of another host than `host` (id).
absl::Status CheckInventory(const v1::Inventory& inventory, absl::string_view host);

// FAILED_PRECONDITION HOLD: what the host holds is of another store than `incarnation`, or of
// an epoch or a revision that this one never gave out: it was brought back from a copy. Nothing
// there may be touched then, however far this store goes on. `hello` is checked.
absl::Status CheckFence(const v1::Hello& hello, const View& view, const std::string& incarnation);

// A claim, to be committed and synced before the agent is told anything.
struct HostClaim {
  int64_t epoch = 0;      // this session's
  v1::HostStatus status;  // as written
  // The host is fenced and still holds something: it must let go of that, and nothing else may
  // be told to it. A host that holds nothing has its fence lifted by the claim.
  bool must_release = false;
  Transaction transaction;  // fails where somebody else claims the host at the same time
};

// `hello` is checked. `host_uid` names the host where this is the first time it is seen. What
// was seen on the host by an earlier session and is no longer held there is written as lost.
HostClaim ClaimHost(const View& view, absl::Time now, const v1::Hello& hello,
                    const std::string& session_id, const std::string& host_uid);

// The hosts (ids) that are written as connected.
std::vector<std::string> ConnectedHosts(const View& view);
// Writes that nothing is known of a silent host any more. Fails where somebody claims the host
// at the same time. Changes nothing where there is no such host.
Transaction MarkHostUnknown(const View& view, absl::Time now, const std::string& host);

}  // namespace nestor::server
