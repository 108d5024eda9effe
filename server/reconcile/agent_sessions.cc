#include "server/reconcile/agent_sessions.h"

#include <google/protobuf/util/time_util.h>
#include <spdlog/spdlog.h>

#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "nestor/storage/v1/rows.pb.h"
#include "server/core/host_intent.h"
#include "server/core/intent.h"
#include "server/core/keys.h"
#include "server/core/observation.h"

namespace nestor::server {
namespace {

constexpr size_t kMaxOrphansListed = 100;
constexpr absl::Duration kRetryAfter = absl::Seconds(1);

google::protobuf::Timestamp ToProto(absl::Time time) {
  return google::protobuf::util::TimeUtil::NanosecondsToTimestamp(absl::ToUnixNanos(time));
}

std::string HostId(const std::string& host_name) {
  auto name = HostName::Parse(host_name);
  return name.ok() ? name->host : "";
}

absl::Status CheckInventory(const v1::Inventory& inventory, const std::string& host) {
  for (const v1::Device& device : inventory.devices()) {
    auto name = DeviceName::Parse(device.name());
    if (!name.ok() || name->host != host) {
      return errors::ProtocolError(absl::StrCat("the inventory names ", Printable(device.name())));
    }
  }
  return absl::OkStatus();
}

// Each device of a checked inventory, once, with its row.
std::map<std::string, std::string> RowsByBdf(const v1::Inventory& inventory) {
  std::map<std::string, std::string> rows;
  for (const v1::Device& device : inventory.devices()) {
    storage::v1::DeviceObservedRow row;
    *row.mutable_status() = device.status();
    rows.emplace(DeviceName::Parse(device.name())->bdf, row.SerializeAsString());
  }
  return rows;
}

// The binding is no longer where it was last seen: in the kernel.
v1::PasidBindingStatus LostStatus(const v1::PasidBindingStatus& before) {
  v1::PasidBindingStatus status = before;
  status.set_state(v1::PasidBindingStatus::STATE_NOT_PROGRAMMED);
  status.clear_programmed_root();
  status.clear_programmed_generation();
  status.mutable_failure()->set_kind(v1::Failure::KIND_TRANSIENT);
  status.mutable_failure()->set_reason("WAITING_FOR_AGENT");
  status.mutable_failure()->set_message("the host no longer holds it: it was started anew");
  return status;
}

// What was seen on the host by an earlier session and is no longer held there, as after a
// reboot. Without this it would seem to be there until the agent has come to each.
void PutLost(const View& view, const HostRecord& host, const v1::Hello& hello,
             Transaction* transaction) {
  std::set<std::string> held;
  for (const auto& machine : hello.held_virtual_machines()) held.insert(machine.uid());
  for (const auto& binding : hello.held_bindings()) held.insert(binding.uid());
  for (const std::string& name : host.virtual_machines) {
    const VirtualMachineRecord& machine = *view.FindVirtualMachine(name);
    const std::string& uid = machine.row.metadata().uid();
    if (!machine.observed.vm_instance().empty() && !held.contains(uid)) {
      v1::VirtualMachineResult gone;
      gone.set_uid(uid);
      storage::v1::VirtualMachineObservedRow row;
      row.set_uid(uid);
      *row.mutable_status() = ObserveMachine(gone);
      transaction->puts.emplace_back(keys::VirtualMachineObserved(*VirtualMachineName::Parse(name)),
                                     row.SerializeAsString());
    }
    for (const std::string& binding_name : view.BindingsOf(name)) {
      const PasidBindingRecord& binding = *view.FindPasidBinding(binding_name);
      if (binding.observed.programmed_generation() == 0) continue;
      if (held.contains(binding.row.metadata().uid())) continue;
      storage::v1::PasidBindingObservedRow row;
      row.set_uid(binding.row.metadata().uid());
      *row.mutable_status() = LostStatus(binding.observed);
      transaction->puts.emplace_back(
          keys::PasidBindingObserved(*PasidBindingName::Parse(binding_name)),
          row.SerializeAsString());
    }
  }
}

}  // namespace

// One host's stream, from its Hello on.
struct AgentSessions::Session {
  std::string host;  // id
  std::shared_ptr<AgentStream> stream;
  std::string session_id;
  std::string boot_id;
  int64_t epoch = 0;
  int64_t epoch_revision = 0;  // mod_revision of the epoch row while this session owns it
  bool live = true;
  v1::HostStatus status;
  std::optional<HostDecision> decision;  // once welcomed

  std::set<std::string> devices;  // BDFs of the newest inventory
  // Observed rows that wait for the write in flight: key -> row, or nothing to delete it.
  std::map<std::string, std::optional<std::string>> observed;
  bool writing = false;
  // When plain ACCEPTED answers came, which are not stored: uid -> (generation, time).
  absl::flat_hash_map<std::string, std::pair<int64_t, google::protobuf::Timestamp>> accepted;
  // uids confirmed ABSENT, to be purged.
  std::set<std::string> absent_bindings;
  std::set<std::string> absent_machines;
  bool purging = false;
};

AgentSessions::AgentSessions(ClusterState& state, Store& store, const Clock& clock, EventLoop& loop,
                             UidSource uids, Options options)
    : state_(state),
      store_(store),
      clock_(clock),
      loop_(loop),
      uids_(std::move(uids)),
      options_(options) {
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
  std::lock_guard lock(lease_mutex_);
  auto it = leases_.find(host);
  if (it == leases_.end() || it->second.session_id != session_id) {
    return errors::NotSessionOwner(Printable(host));
  }
  it->second.renewed = clock_.Now();
  return options_.lease_ttl;
}

void AgentSessions::Drain() {
  loop_.Post([this] {
    const auto sessions = sessions_;
    for (const auto& [host, session] : sessions) {
      End(session, errors::Unavailable("the server is stopping", kRetryAfter));
    }
  });
}

absl::Status AgentSessions::CheckHello(const v1::Hello& hello) const {
  const std::string host = HostId(hello.host());
  if (host.empty()) return errors::ProtocolError("Hello names no valid host");
  if (hello.agent_instance().empty() || hello.boot_id().empty() || !hello.has_inventory()) {
    return errors::ProtocolError("Hello lacks agent_instance, boot_id or inventory");
  }
  RETURN_IF_ERROR(CheckInventory(hello.inventory(), host));
  // Two machines under one name would fight for ever; a restarted agent has the same boot_id
  // and the host's own lock.
  auto it = sessions_.find(host);
  if (it != sessions_.end() && it->second->boot_id != hello.boot_id()) {
    return errors::AgentConflict(hello.host());
  }
  const v1::Fence& seen = hello.highest_seen();
  if (!seen.incarnation().empty() && seen.incarnation() != state_.Incarnation()) {
    return absl::FailedPreconditionError(
        absl::StrCat("HOLD: the host holds state of store ", Printable(seen.incarnation()),
                     ", this is store ", state_.Incarnation(), "; nothing is touched"));
  }
  if (seen.head_revision() > state_.HeadRevision()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "HOLD: the host has seen revision ", seen.head_revision(), ", this store ends at ",
        state_.HeadRevision(), ": it was rolled back; nothing is touched"));
  }
  return absl::OkStatus();
}

void AgentSessions::Begin(std::shared_ptr<AgentStream> stream, v1::Hello hello,
                          std::function<void()> taken_in) {
  if (absl::Status status = CheckHello(hello); !status.ok()) {
    spdlog::warn("refused the agent of {}: {}", Printable(hello.host()),
                 status.ToString(absl::StatusToStringMode::kWithNoExtraData));
    return stream->Close(status);
  }
  auto session = std::make_shared<Session>();
  session->host = HostId(hello.host());
  session->stream = std::move(stream);
  session->session_id = uids_();
  session->boot_id = hello.boot_id();
  if (auto it = sessions_.find(session->host); it != sessions_.end()) {
    End(SessionPtr(it->second), errors::SessionSuperseded(hello.host()));
  }
  sessions_[session->host] = session;
  by_stream_[session->stream.get()] = session;
  Transaction claim = Claim(*session, hello);
  store_.Commit(
      std::move(claim), [this, session, hello = std::move(hello),
                         taken_in = std::move(taken_in)](absl::StatusOr<int64_t> revision) mutable {
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

Transaction AgentSessions::Claim(Session& session, const v1::Hello& hello) const {
  Transaction transaction;
  session.status.set_state(v1::HostStatus::STATE_CONNECTED);
  session.status.set_agent_instance(hello.agent_instance());
  session.status.set_boot_id(hello.boot_id());
  session.status.set_agent_version(hello.agent_version());
  *session.status.mutable_last_seen_time() = ToProto(clock_.Now());
  state_.Read([&](const View& view) {
    const EpochRecord before = view.Epoch(session.host);
    session.epoch = before.epoch + 1;
    session.status.set_epoch(session.epoch);
    storage::v1::EpochRow epoch;
    epoch.set_epoch(session.epoch);
    epoch.set_session_id(session.session_id);
    transaction.compares.push_back(Compare::Unchanged(keys::Epoch(session.host), before.revision));
    transaction.puts.emplace_back(keys::Epoch(session.host), epoch.SerializeAsString());

    const HostRecord* host = view.FindHost(session.host);
    if (host == nullptr) {
      storage::v1::HostRow row;
      row.mutable_metadata()->set_schema(1);
      row.mutable_metadata()->set_uid(uids_());
      row.mutable_metadata()->set_generation(1);
      *row.mutable_metadata()->mutable_create_time() = ToProto(clock_.Now());
      *row.mutable_metadata()->mutable_update_time() = ToProto(clock_.Now());
      transaction.compares.push_back(Compare::Absent(keys::Host(session.host)));
      transaction.puts.emplace_back(keys::Host(session.host), row.SerializeAsString());
    }
    for (auto& [bdf, row] : RowsByBdf(hello.inventory())) {
      transaction.puts.emplace_back(keys::DeviceObserved(session.host, bdf), std::move(row));
      session.devices.insert(bdf);
    }
    if (host == nullptr) return;
    for (const auto& [bdf, status] : host->devices) {
      if (!session.devices.contains(bdf)) {
        transaction.deletes.push_back(keys::DeviceObserved(session.host, bdf));
      }
    }
    PutLost(view, *host, hello, &transaction);
  });
  storage::v1::HostObservedRow observed;
  *observed.mutable_status() = session.status;
  transaction.puts.emplace_back(keys::HostObserved(session.host), observed.SerializeAsString());
  return transaction;
}

void AgentSessions::Welcome(const SessionPtr& session, const v1::Hello& hello, int64_t revision) {
  session->epoch_revision = revision;
  {
    std::lock_guard lock(lease_mutex_);
    leases_[hello.host()] = {session->session_id, clock_.Now()};
  }
  WatchLease(session);
  v1::SyncResponse message;
  v1::Fence& fence = *message.mutable_welcome()->mutable_fence();
  fence.set_incarnation(state_.Incarnation());
  fence.set_epoch(session->epoch);
  fence.set_head_revision(revision);
  message.mutable_welcome()->set_session_id(session->session_id);
  message.mutable_welcome()->mutable_lease_ttl()->set_seconds(
      absl::ToInt64Seconds(options_.lease_ttl));
  session->decision.emplace(fence);
  session->stream->Send(std::move(message));
  spdlog::info("hosts/{} connected: agent {}, epoch {}, holds {} bindings", session->host,
               hello.agent_instance(), session->epoch, hello.held_bindings_size());

  HostIntent intent;
  state_.Read([&](const View& view) { intent = IntentOfHost(view, session->host); });
  std::vector<v1::Orphan> orphans;
  HostEffects effects = session->decision->Connect(hello, std::move(intent), &orphans);
  for (const auto& held : hello.held_virtual_machines()) {
    v1::VirtualMachineResult result;
    result.set_uid(held.uid());
    result.set_generation(held.generation());
    result.set_vm_instance(held.vm_instance());
    if (held.has_memory_failure()) *result.mutable_failure() = held.memory_failure();
    effects.observed_machines.push_back(std::move(result));
  }
  if (!orphans.empty()) {
    spdlog::warn("hosts/{} holds {} bindings that no intent names; they are kept", session->host,
                 orphans.size());
    for (size_t i = 0; i < std::min(orphans.size(), kMaxOrphansListed); ++i) {
      *session->status.add_orphans() = std::move(orphans[i]);
    }
    ObserveHost(session, v1::HostStatus::STATE_CONNECTED);
  }
  Perform(session, std::move(effects));
}

absl::Status AgentSessions::TakeInResults(const SessionPtr& session, const v1::Results& results) {
  if (!session->decision) return errors::ProtocolError("Results before Welcome");
  auto effects = session->decision->Answer(results);
  if (!effects.ok()) return effects.status();
  Perform(session, *std::move(effects));
  return absl::OkStatus();
}

absl::Status AgentSessions::TakeInInventory(const SessionPtr& session,
                                            const v1::Inventory& inventory) {
  RETURN_IF_ERROR(CheckInventory(inventory, session->host));
  // One left out is gone.
  for (const std::string& bdf : std::exchange(session->devices, {})) {
    session->observed[keys::DeviceObserved(session->host, bdf)] = std::nullopt;
  }
  for (auto& [bdf, row] : RowsByBdf(inventory)) {
    session->observed[keys::DeviceObserved(session->host, bdf)] = std::move(row);
    session->devices.insert(bdf);
  }
  Flush(session);
  return absl::OkStatus();
}

void AgentSessions::OnChanges(const std::vector<StateChange>& changes) {
  std::map<std::string, HostIntent> by_host;
  int64_t head = 0;
  state_.Read([&](const View& view) {
    for (const StateChange& change : changes) {
      if (!change.intent) continue;
      // Of intent, which is synced: a fence never names a revision that a power cut can take
      // back.
      head = std::max(head, change.revision);
      if (change.kind == ResourceKind::kPasidBinding) {
        const std::string host = HostOfResource(view, change.name);
        if (!sessions_.contains(host)) continue;
        if (!change.deleted) {
          AddPasidBindingIntent(view, change.name, &by_host[host]);
        } else {
          // Perhaps the last one that its machine's deletion waited for.
          AddVirtualMachineIntent(view, PasidBindingName::Parse(change.name)->Parent().ToString(),
                                  &by_host[host]);
        }
      } else if (change.kind == ResourceKind::kVirtualMachine) {
        const std::string host = HostOfResource(view, change.name);
        if (sessions_.contains(host)) {
          AddVirtualMachineIntent(view, change.name, &by_host[host]);
        }
      }
    }
  });
  for (auto& [host, intent] : by_host) {
    const SessionPtr session = sessions_[host];
    // Until it is welcomed the session compares with the whole intent anyway.
    if (session->decision) Perform(session, session->decision->Change(std::move(intent), head));
  }
}

void AgentSessions::Perform(const SessionPtr& session, HostEffects effects) {
  for (v1::SyncResponse& message : effects.send) session->stream->Send(std::move(message));
  Observe(session, effects);
  session->absent_bindings.insert(effects.absent_bindings.begin(), effects.absent_bindings.end());
  session->absent_machines.insert(effects.absent_machines.begin(), effects.absent_machines.end());
  Flush(session);
  Purge(session);
}

void AgentSessions::Observe(const SessionPtr& session, const HostEffects& effects) {
  state_.Read([&](const View& view) {
    for (const v1::VirtualMachineResult& result : effects.observed_machines) {
      auto name = VirtualMachineName::Parse(view.VirtualMachineByUid(result.uid()));
      if (!name.ok()) continue;
      storage::v1::VirtualMachineObservedRow row;
      row.set_uid(result.uid());
      *row.mutable_status() = ObserveMachine(result);
      session->observed[keys::VirtualMachineObserved(*name)] = row.SerializeAsString();
    }
    for (v1::Result result : effects.observed_bindings) {
      const std::string name = view.PasidBindingByUid(result.uid());
      if (name.empty()) continue;
      if (!IsWorthStoring(result)) {
        session->accepted[result.uid()] = {result.generation(), result.time()};
        continue;
      }
      const std::string key = keys::PasidBindingObserved(*PasidBindingName::Parse(name));
      // What waits to be written is newer than what the view shows.
      v1::PasidBindingStatus before = view.FindPasidBinding(name)->observed;
      storage::v1::PasidBindingObservedRow row;
      if (auto it = session->observed.find(key); it != session->observed.end() && it->second) {
        row.ParseFromString(*it->second);
        before = row.status();
      }
      if (auto it = session->accepted.find(result.uid()); it != session->accepted.end()) {
        if (it->second.first == result.generation() &&
            before.observed_generation() != result.generation()) {
          before.Clear();
          before.set_observed_generation(result.generation());
          *before.mutable_times()->mutable_accepted() = it->second.second;
        }
        session->accepted.erase(it);
      }
      row.set_uid(result.uid());
      *row.mutable_status() = ObserveBinding(result, before);
      session->observed[key] = row.SerializeAsString();
    }
    // What is gone is purged; a row written after that would stay for ever.
    for (const std::string& uid : effects.absent_bindings) {
      auto name = PasidBindingName::Parse(view.PasidBindingByUid(uid));
      if (name.ok()) session->observed.erase(keys::PasidBindingObserved(*name));
    }
    for (const std::string& uid : effects.absent_machines) {
      auto name = VirtualMachineName::Parse(view.VirtualMachineByUid(uid));
      if (name.ok()) session->observed.erase(keys::VirtualMachineObserved(*name));
    }
  });
}

void AgentSessions::ObserveHost(const SessionPtr& session, v1::HostStatus::State state) {
  session->status.set_state(state);
  storage::v1::HostObservedRow row;
  *row.mutable_status() = session->status;
  session->observed[keys::HostObserved(session->host)] = row.SerializeAsString();
}

void AgentSessions::Flush(const SessionPtr& session) {
  if (session->writing || session->observed.empty() || session->epoch_revision == 0) return;
  Transaction transaction;
  transaction.durability = Durability::kRelaxed;
  transaction.compares.push_back(
      Compare::Unchanged(keys::Epoch(session->host), session->epoch_revision));
  for (auto& [key, row] : session->observed) {
    if (row) {
      transaction.puts.emplace_back(key, *std::move(row));
    } else {
      transaction.deletes.push_back(key);
    }
  }
  session->observed.clear();
  session->writing = true;
  store_.Commit(std::move(transaction), [this, session](absl::StatusOr<int64_t> revision) {
    loop_.Post([this, session, status = revision.status()] {
      session->writing = false;
      if (absl::IsAborted(status)) {
        return End(session, errors::SessionSuperseded("hosts/" + session->host));
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
  std::vector<std::string> machines(session->absent_machines.begin(),
                                    session->absent_machines.end());
  session->absent_bindings.clear();
  session->absent_machines.clear();
  auto decide = [session, bindings, machines](const View& view, absl::Time) {
    Decision decision = nestor::server::Purge(view, bindings, machines);
    if (!decision.changes_nothing()) {
      decision.transaction.compares.push_back(
          Compare::Unchanged(keys::Epoch(session->host), session->epoch_revision));
    }
    return absl::StatusOr<Decision>(std::move(decision));
  };
  state_.Mutate(decide, {}, [this, session](absl::StatusOr<Applied> applied) {
    loop_.Post([this, session, status = applied.status()] {
      session->purging = false;
      // The next session asks again: the rows are still being deleted.
      if (!status.ok()) return End(session, errors::Unavailable(status.message(), kRetryAfter));
      Purge(session);
    });
  });
}

void AgentSessions::WatchLease(const SessionPtr& session) {
  absl::Duration left;
  {
    std::lock_guard lock(lease_mutex_);
    const Lease& lease = leases_["hosts/" + session->host];
    if (lease.session_id != session->session_id) return;
    left = lease.renewed + options_.lease_ttl - clock_.Now();
    if (left <= absl::ZeroDuration()) leases_.erase("hosts/" + session->host);
  }
  if (left > absl::ZeroDuration()) {
    loop_.PostAfter(left, [this, session] { WatchLease(session); });
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
  state_.Read([&](const View& view) {
    for (const auto& [id, host] : view.hosts()) {
      if (host.observed.status().state() == v1::HostStatus::STATE_CONNECTED) hosts.push_back(id);
    }
  });
  loop_.PostAfter(options_.lease_ttl, [this, hosts] {
    for (const std::string& host : hosts) {
      std::unique_lock lock(lease_mutex_);
      const bool leased = leases_.contains("hosts/" + host);
      lock.unlock();
      if (!leased) MarkUnknown(host);
    }
  });
}

void AgentSessions::MarkUnknown(const std::string& host) {
  if (sessions_.contains(host)) return;
  spdlog::warn("hosts/{} is silent: what its kernel holds is unknown; nothing is freed", host);
  Transaction transaction;
  transaction.durability = Durability::kRelaxed;
  state_.Read([&](const View& view) {
    const HostRecord* record = view.FindHost(host);
    if (record == nullptr) return;
    storage::v1::HostObservedRow row = record->observed;
    row.mutable_status()->set_state(v1::HostStatus::STATE_UNKNOWN);
    transaction.compares.push_back(
        Compare::Unchanged(keys::Epoch(host), view.Epoch(host).revision));
    transaction.puts.emplace_back(keys::HostObserved(host), row.SerializeAsString());
  });
  store_.Commit(std::move(transaction), [host](absl::StatusOr<int64_t> revision) {
    // ABORTED: a session began in the same moment.
    if (!revision.ok() && !absl::IsAborted(revision.status())) {
      spdlog::error("cannot record that hosts/{} is silent: {}", host,
                    revision.status().ToString(absl::StatusToStringMode::kWithNoExtraData));
    }
  });
}

void AgentSessions::End(const SessionPtr& session, const absl::Status& status) {
  if (!std::exchange(session->live, false)) return;
  session->stream->Close(status);
  by_stream_.erase(session->stream.get());
  auto it = sessions_.find(session->host);
  if (it != sessions_.end() && it->second == session) sessions_.erase(it);
  spdlog::info("hosts/{} disconnected: {}", session->host,
               status.ToString(absl::StatusToStringMode::kWithNoExtraData));
}

AgentSessions::SessionPtr AgentSessions::FindByStream(const AgentStream* stream) const {
  auto it = by_stream_.find(stream);
  return it != by_stream_.end() ? it->second : nullptr;
}

}  // namespace nestor::server
