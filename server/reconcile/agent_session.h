// What AgentSessions keeps of one host's stream.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/core/host_decision.h"
#include "server/core/observed_rows.h"
#include "server/reconcile/agent_sessions.h"
#include "server/reconcile/invalidations.h"

namespace nestor::server {

// For an agent whose session ended for no fault of its own.
inline constexpr absl::Duration kRetryAfter = absl::Seconds(1);

// One host's stream, from its Hello on.
struct AgentSessions::Session {
  Session(std::string host_id, std::shared_ptr<AgentStream> agent_stream, const v1::Hello& hello)
      : host(std::move(host_id)),
        stream(std::move(agent_stream)),
        boot_id(hello.boot_id()),
        observed(host, hello.inventory()) {}

  const std::string host;  // id
  const std::shared_ptr<AgentStream> stream;
  const std::string boot_id;
  std::string session_id;
  int64_t epoch_revision = 0;  // mod_revision of the epoch row while this session owns it
  bool live = true;
  bool must_release = false;  // see HostClaim
  v1::HostStatus status;
  size_t pending = 0;                    // its share of AgentSessions::pending_
  std::optional<HostDecision> decision;  // once welcomed

  ObservedRows observed;
  bool writing = false;
  // uids confirmed ABSENT, to be purged; of machines with the generation.
  std::set<std::string> absent_bindings;
  std::map<std::string, int64_t> absent_machines;
  bool purging = false;
  Invalidations invalidations;

  std::string host_name() const { return absl::StrCat("hosts/", host); }
};

}  // namespace nestor::server
