#include "server/reconcile/agent_sessions.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "api/support/errors.h"
#include "api/support/log.h"
#include "api/support/proto_time.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "server/core/host_claim.h"
#include "server/core/host_intent.h"
#include "server/core/intent.h"
#include "server/core/invalidation.h"
#include "server/core/keys.h"
#include "server/reconcile/agent_session.h"

namespace nestor::server {
namespace {

constexpr size_t kMaxOrphansListed = 100;

}  // namespace

AgentSessions::AgentSessions(ClusterState& state, Store& store, const Clock& clock, TaskQueue& loop,
                             UidSource uids, Options options)
    : state_(state),
      store_(store),
      clock_(clock),
      loop_(loop),
      uids_(std::move(uids)),
      on_rung_(std::move(options.on_rung)),
      leases_(options.lease_ttl, clock) {
  subscription_ = state_.Subscribe([this](const std::vector<StateChange>& changes) {
    loop_.Post([this, changes] { OnChanges(changes); });
  });
  loop_.Post([this] { ExpectHostsBack(); });
}

AgentSessions::~AgentSessions() { subscription_.reset(); }

void AgentSessions::OnMessage(std::shared_ptr<AgentStream> stream, v1::SyncRequest message,
                              std::function<void()> taken_in) {
  loop_.Post([this, stream = std::move(stream), message = std::move(message),
              taken_in = std::move(taken_in)]() mutable {
    const SessionPtr session = FindByStream(stream.get());
    if (message.has_hello() && session == nullptr) {
      return Begin(std::move(stream), std::move(*message.mutable_hello()), std::move(taken_in));
    }
    absl::Status status;
    if (session == nullptr) {
      status = errors::ProtocolError("the first message is not Hello");
    } else if (message.has_results()) {
      status = TakeInResults(session, message.results());
    } else if (message.has_inventory()) {
      status = TakeInInventory(session, message.inventory());
    } else {
      status = errors::ProtocolError("a message of no known kind, or a second Hello");
    }
    if (status.ok()) return taken_in();
    stream->Close(status);
    if (session != nullptr) End(session, status);
  });
}

void AgentSessions::OnClosed(std::shared_ptr<AgentStream> stream) {
  loop_.Post([this, stream = std::move(stream)] {
    if (const SessionPtr session = FindByStream(stream.get())) {
      End(session, absl::CancelledError("the stream is gone"));
    }
  });
}

absl::StatusOr<absl::Duration> AgentSessions::Renew(const std::string& host,
                                                    const std::string& session_id) {
  RETURN_IF_ERROR(leases_.Renew(host, session_id));
  return leases_.ttl();
}

void AgentSessions::Drain() {
  loop_.Post([this] {
    const auto sessions = sessions_;
    for (const auto& [host, session] : sessions) {
      End(session, errors::Unavailable("the server is stopping", kRetryAfter));
    }
  });
}

absl::Status AgentSessions::MayBegin(const v1::Hello& hello) const {
  RETURN_IF_ERROR(CheckHello(hello));
  // Two machines under one name would fight for ever; a restarted agent has the same boot_id
  // and the host's own lock.
  auto it = sessions_.find(HostOf(hello));
  if (it != sessions_.end() && it->second->boot_id != hello.boot_id()) {
    return errors::AgentConflict(hello.host());
  }
  absl::Status status;
  state_.Read([&](const View& view) { status = CheckFence(hello, view, state_.Incarnation()); });
  return status;
}

void AgentSessions::Begin(std::shared_ptr<AgentStream> stream, v1::Hello hello,
                          std::function<void()> taken_in) {
  if (absl::Status status = MayBegin(hello); !status.ok()) {
    log::Warn({{"resource", Printable(hello.host())}, {"error", ErrorReason(status)}},
              "refused its agent: {}", log::Text(status));
    return stream->Close(status);
  }
  auto session = std::make_shared<Session>(HostOf(hello), std::move(stream), hello);
  session->session_id = uids_();
  if (auto it = sessions_.find(session->host); it != sessions_.end()) {
    End(SessionPtr(it->second), errors::SessionSuperseded(hello.host()));
  }
  sessions_[session->host] = session;
  by_stream_[session->stream.get()] = session;
  count_ = sessions_.size();
  HostClaim claim;
  state_.Read([&](const View& view) {
    claim = ClaimHost(view, clock_.Now(), hello, session->session_id, uids_());
  });
  session->status = std::move(claim.status);
  session->must_release = claim.must_release;
  store_.Commit(std::move(claim.transaction), [this, session, hello = std::move(hello),
                                               taken_in = std::move(taken_in)](
                                                  absl::StatusOr<int64_t> revision) mutable {
    loop_.Post([this, session, hello = std::move(hello), taken_in = std::move(taken_in),
                revision = std::move(revision)] {
      if (!session->live) return;
      if (!revision.ok()) {
        // Somebody else claimed the host in the same moment, or the store refuses.
        return End(session, errors::Unavailable(revision.status().message(), kRetryAfter));
      }
      Welcome(session, hello, *revision);
      taken_in();
    });
  });
}

void AgentSessions::Welcome(const SessionPtr& session, const v1::Hello& hello, int64_t revision) {
  session->epoch_revision = revision;
  bool overtaken = false;
  state_.Read([&](const View& view) { overtaken = IsOvertaken(view, *session); });
  if (overtaken) return End(session, errors::SessionSuperseded(session->host_name()));
  leases_.Grant(session->host_name(), session->session_id);
  WatchLease(session);
  v1::SyncResponse message;
  v1::Fence& fence = *message.mutable_welcome()->mutable_fence();
  fence.set_incarnation(state_.Incarnation());
  fence.set_epoch(session->status.epoch());
  fence.set_head_revision(revision);
  message.mutable_welcome()->set_session_id(session->session_id);
  *message.mutable_welcome()->mutable_lease_ttl() = ToProtoDuration(leases_.ttl());
  session->decision.emplace(fence);
  session->stream->Send(std::move(message));
  log::Info({{"resource", session->host_name()}, {"epoch", session->status.epoch()}},
            "connected: agent {}, holds {} bindings", Printable(hello.agent_instance()),
            hello.held_bindings_size());
  CompareWhole(session, hello);
}

// Somebody took a later epoch: another session of the host, or a fence.
bool AgentSessions::IsOvertaken(const View& view, const Session& session) {
  return session.epoch_revision != 0 && view.Epoch(session.host).revision > session.epoch_revision;
}

void AgentSessions::CompareWhole(const SessionPtr& session, const v1::Hello& hello) {
  if (session->must_release) return ReleaseAll(session, hello);
  HostIntent intent;
  state_.Read([&](const View& view) { intent = IntentOfHost(view, session->host); });
  std::vector<v1::Orphan> orphans;
  HostEffects effects = session->decision->Connect(hello, std::move(intent), &orphans);
  if (!orphans.empty()) {
    log::Warn({{"resource", session->host_name()}, {"epoch", session->status.epoch()}},
              "it holds {} bindings that no intent names; they are kept", orphans.size());
    orphans.resize(std::min(orphans.size(), kMaxOrphansListed));
    session->status.mutable_orphans()->Assign(orphans.begin(), orphans.end());
    session->observed.AddHost(session->status);
  }
  Perform(session, std::move(effects));
}

void AgentSessions::ReleaseAll(const SessionPtr& session, const v1::Hello& hello) {
  log::Error({{"resource", session->host_name()}, {"epoch", session->status.epoch()}},
             "fenced, and back with {} virtual machines and {} bindings: it is told to let go of "
             "them and holds nothing new before that",
             hello.held_virtual_machines_size(), hello.held_bindings_size());
  std::vector<v1::Orphan> released;
  Perform(session, session->decision->Connect(hello, ReleaseIntent(hello), &released));
}

absl::Status AgentSessions::TakeInResults(const SessionPtr& session, const v1::Results& results) {
  if (!session->decision) return errors::ProtocolError("Results before Welcome");
  auto effects = session->decision->Answer(results);
  if (!effects.ok()) return effects.status();
  Perform(session, *std::move(effects));
  for (const v1::InvalidationResult& result : results.invalidations()) {
    RETURN_IF_ERROR(session->invalidations.Answer(result));
  }
  return absl::OkStatus();
}

void AgentSessions::Invalidate(v1::InvalidateCacheRequest request, Invalidations::Done done) {
  loop_.Post([this, request = std::move(request), done = std::move(done)]() mutable {
    InvalidateNow(request, std::move(done));
  });
}

void AgentSessions::InvalidateNow(const v1::InvalidateCacheRequest& request,
                                  Invalidations::Done done) {
  absl::StatusOr<HostInvalidation> wanted;
  state_.Read([&](const View& view) { wanted = InvalidationOf(view, request); });
  if (!wanted.ok()) return done(wanted.status());
  auto it = sessions_.find(wanted->host);
  if (it == sessions_.end() || !it->second->decision) {
    return done(errors::Unavailable(
        absl::StrCat("the agent of hosts/", wanted->host, " is not connected"), kRetryAfter));
  }
  Session& session = *it->second;
  const absl::StatusOr<int64_t> id = session.invalidations.Add(request.name(), std::move(done));
  if (!id.ok()) return;
  v1::SyncResponse message;
  v1::Invalidation& invalidation = *message.mutable_invalidation();
  invalidation = std::move(wanted->message);
  invalidation.set_id(*id);
  *invalidation.mutable_fence() = session.decision->fence();
  session.stream->Send(std::move(message));
}

absl::Status AgentSessions::TakeInInventory(const SessionPtr& session,
                                            const v1::Inventory& inventory) {
  RETURN_IF_ERROR(CheckInventory(inventory, session->host));
  session->observed.AddInventory(inventory);
  Flush(session);
  return absl::OkStatus();
}

void AgentSessions::OnChanges(const std::vector<StateChange>& changes) {
  std::map<std::string, HostIntent> by_host;
  std::vector<SessionPtr> overtaken;
  int64_t head = 0;
  state_.Read([&](const View& view) {
    for (const StateChange& change : changes) {
      if (!change.intent) continue;
      // Of intent, which is synced: a fence never names a revision that a power cut can take
      // back.
      head = std::max(head, change.revision);
      if (change.kind == ResourceKind::kHost) {
        auto it = sessions_.find(std::string(absl::StripPrefix(change.name, "hosts/")));
        if (it != sessions_.end() && IsOvertaken(view, *it->second)) {
          overtaken.push_back(it->second);
        }
      }
      TellPersisted(view, change);
      const std::string host = HostOfResource(view, change.name);
      if (sessions_.contains(host)) AddIntentOfChange(view, change, &by_host[host]);
      if (change.kind == ResourceKind::kVirtualMachine) {
        const std::string left = HostLeftBy(view, change.name);
        if (sessions_.contains(left)) AddDepartureIntent(view, change.name, &by_host[left]);
      }
    }
  });
  for (const SessionPtr& session : overtaken) {
    End(session, errors::SessionSuperseded(session->host_name()));
  }
  for (auto& [host, intent] : by_host) {
    auto it = sessions_.find(host);
    if (it == sessions_.end()) continue;
    const SessionPtr session = it->second;
    // Until it is welcomed the session compares with the whole intent anyway.
    if (session->decision) Perform(session, session->decision->Change(std::move(intent), head));
  }
}

void AgentSessions::TellRung(v1::PasidBindingStatus::State rung,
                             const google::protobuf::Timestamp& asked_for) {
  if (on_rung_) on_rung_(rung, clock_.Now() - FromTimestamp(asked_for));
}

void AgentSessions::TellPersisted(const View& view, const StateChange& change) {
  if (change.kind != ResourceKind::kPasidBinding || change.deleted) return;
  const std::optional<PasidBindingRecord> record = view.FindPasidBinding(change.name);
  if (!record || record->revision != change.revision) return;
  TellRung(v1::PasidBindingStatus::STATE_PERSISTED, record->row.metadata().update_time());
}

void AgentSessions::Perform(const SessionPtr& session, HostEffects effects) {
  for (v1::SyncResponse& message : effects.send) session->stream->Send(std::move(message));
  std::vector<ReachedRung> reached;
  const SessionMoment moment{clock_.Now(), session->status.epoch()};
  state_.Read([&](const View& view) { reached = session->observed.Add(view, effects, moment); });
  for (const ReachedRung& rung : reached) TellRung(rung.rung, rung.asked_for);
  const size_t pending = session->decision->dirty() + session->decision->in_flight();
  pending_ += pending - std::exchange(session->pending, pending);
  session->absent_bindings.insert(effects.absent_bindings.begin(), effects.absent_bindings.end());
  for (const auto& [uid, generation] : effects.absent_machines) {
    int64_t& known = session->absent_machines[uid];
    known = std::max(known, generation);
  }
  Flush(session);
  Purge(session);
  if (session->must_release && pending == 0) {
    End(session,
        errors::Unavailable("it has let go of all; its next Hello shows that", kRetryAfter));
  }
}

void AgentSessions::Flush(const SessionPtr& session) {
  if (session->writing || session->observed.empty() || session->epoch_revision == 0) return;
  Transaction transaction = session->observed.Take();
  transaction.compares.push_back(
      Compare::Unchanged(keys::Epoch(session->host), session->epoch_revision));
  session->writing = true;
  store_.Commit(std::move(transaction), [this, session](const absl::StatusOr<int64_t>& revision) {
    loop_.Post([this, session, status = revision.status()] {
      session->writing = false;
      if (absl::IsAborted(status)) {
        return End(session, errors::SessionSuperseded(session->host_name()));
      }
      // A lost observation is told again by the next Hello.
      if (!status.ok()) return End(session, errors::Unavailable(status.message(), kRetryAfter));
      Flush(session);
    });
  });
}

void AgentSessions::Purge(const SessionPtr& session) {
  if (session->purging || (session->absent_bindings.empty() && session->absent_machines.empty())) {
    return;
  }
  session->purging = true;
  std::vector<std::string> bindings(session->absent_bindings.begin(),
                                    session->absent_bindings.end());
  session->absent_bindings.clear();
  auto machines = std::exchange(session->absent_machines, {});
  auto decide = [session, bindings, machines](const View& view, absl::Time now) {
    Decision decision = nestor::server::Purge(view, now, session->host, bindings, machines);
    if (!decision.changes_nothing()) {
      decision.transaction.compares.push_back(
          Compare::Unchanged(keys::Epoch(session->host), session->epoch_revision));
    }
    return absl::StatusOr<Decision>(std::move(decision));
  };
  state_.Mutate(decide, {}, [this, session](const absl::StatusOr<Applied>& applied) {
    loop_.Post([this, session, status = applied.status()] {
      session->purging = false;
      // The next session asks again: the rows are still being deleted.
      if (!status.ok()) return End(session, errors::Unavailable(status.message(), kRetryAfter));
      Purge(session);
    });
  });
}

void AgentSessions::End(const SessionPtr& session, const absl::Status& status) {
  if (!std::exchange(session->live, false)) return;
  session->stream->Close(status);
  session->invalidations.EndAll(errors::Unavailable(
      absl::StrCat("the agent of ", session->host_name(), " went before it answered"),
      kRetryAfter));
  by_stream_.erase(session->stream.get());
  auto it = sessions_.find(session->host);
  if (it != sessions_.end() && it->second == session) sessions_.erase(it);
  pending_ -= std::exchange(session->pending, 0);
  count_ = sessions_.size();
  log::Info({{"resource", session->host_name()}, {"epoch", session->status.epoch()}},
            "disconnected: {}", log::Text(status));
}

AgentSessions::SessionPtr AgentSessions::FindByStream(const AgentStream* stream) const {
  auto it = by_stream_.find(stream);
  return it != by_stream_.end() ? it->second : nullptr;
}

}  // namespace nestor::server
