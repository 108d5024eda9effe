// The live sessions of the agents: claims a host's epoch, compares, sends what differs,
// records what the agents answer, and notices when they fall silent.
//
// All state lives on one event loop; gRPC and the store post to it. Leases are apart, in
// memory, so that liveness never queues behind state.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "api/support/clock.h"
#include "api/support/task_queue.h"
#include "nestor/v1/agent_service.pb.h"
#include "nestor/v1/pasid_binding_service.pb.h"
#include "server/core/decision.h"
#include "server/core/host_decision.h"
#include "server/reconcile/cluster_state.h"
#include "server/reconcile/host_leases.h"
#include "server/reconcile/invalidations.h"
#include "server/store/store.h"

namespace nestor::server {

// One open Sync stream. Thread-safe; both calls queue and return.
class AgentStream {
 public:
  virtual ~AgentStream() = default;
  virtual void Send(v1::SyncResponse message) = 0;
  // Ends the stream with `status`; what was sent before still goes out. Idempotent.
  virtual void Close(absl::Status status) = 0;
};

class AgentSessions {
 public:
  struct Options {
    // A host silent for that long becomes UNKNOWN.
    absl::Duration lease_ttl = absl::Seconds(40);
    // Called on the loop when a binding comes to a rung: PERSISTED, ACCEPTED, PROGRAMMED or
    // FAILED, `after` its change was asked for. May be empty.
    std::function<void(v1::PasidBindingStatus::State rung, absl::Duration after)> on_rung = {};
  };

  // All references must outlive this; `loop` must be stopped before this is destroyed.
  AgentSessions(ClusterState& state, Store& store, const Clock& clock, TaskQueue& loop,
                UidSource uids, Options options);
  ~AgentSessions();

  // A message arrived. `taken_in` is called when the next one may be read. Thread-safe.
  void OnMessage(std::shared_ptr<AgentStream> stream, v1::SyncRequest message,
                 std::function<void()> taken_in);
  // The stream is gone. Its host keeps its lease until that runs out. Thread-safe.
  void OnClosed(std::shared_ptr<AgentStream> stream);

  // Renews a lease; answers its length. ABORTED NOT_SESSION_OWNER. Thread-safe, in memory.
  absl::StatusOr<absl::Duration> Renew(const std::string& host, const std::string& session_id);

  // Has the binding's host drop cached translations. `done` is called once, on the loop: OK
  // after the kernel did it; else NOT_FOUND, UNAVAILABLE (the host is not connected, or went
  // meanwhile), QUEUE_FULL, or as errors::InvalidationFailed. It may take for ever where the
  // kernel does. The request is valid. Thread-safe.
  void Invalidate(v1::InvalidateCacheRequest request, Invalidations::Done done);

  // Agents that are connected, and objects that they were or will be told of and have not
  // answered. Thread-safe.
  size_t count() const { return count_; }
  size_t pending() const { return pending_; }

  // Ends every stream with UNAVAILABLE, so that the agents go elsewhere. Thread-safe.
  void Drain();

 private:
  struct Session;
  using SessionPtr = std::shared_ptr<Session>;

  // Everything below runs on the loop.
  absl::Status MayBegin(const v1::Hello& hello) const;
  void Begin(std::shared_ptr<AgentStream> stream, v1::Hello hello, std::function<void()> taken_in);
  void Welcome(const SessionPtr& session, const v1::Hello& hello, int64_t revision);
  static bool IsOvertaken(const View& view, const Session& session);
  void CompareWhole(const SessionPtr& session, const v1::Hello& hello);
  // The host is fenced: it is told to let go of what it holds. Then the session ends, and the
  // next one's Hello lifts the fence.
  void ReleaseAll(const SessionPtr& session, const v1::Hello& hello);
  absl::Status TakeInResults(const SessionPtr& session, const v1::Results& results);
  absl::Status TakeInInventory(const SessionPtr& session, const v1::Inventory& inventory);
  void InvalidateNow(const v1::InvalidateCacheRequest& request, Invalidations::Done done);
  void OnChanges(const std::vector<StateChange>& changes);
  void TellPersisted(const View& view, const StateChange& change);
  void TellRung(v1::PasidBindingStatus::State rung, const google::protobuf::Timestamp& asked_for);
  void Perform(const SessionPtr& session, HostEffects effects);
  // Writes what was observed; while a write is in flight it collects.
  void Flush(const SessionPtr& session);
  void Purge(const SessionPtr& session);
  void WatchLease(const SessionPtr& session);
  void ExpectHostsBack();
  void MarkUnknown(const std::string& host);
  void End(const SessionPtr& session, const absl::Status& status);
  SessionPtr FindByStream(const AgentStream* stream) const;

  ClusterState& state_;
  Store& store_;
  const Clock& clock_;
  TaskQueue& loop_;
  const UidSource uids_;
  const decltype(Options::on_rung) on_rung_;
  HostLeases leases_;
  std::atomic<size_t> count_ = 0;
  std::atomic<size_t> pending_ = 0;
  std::unique_ptr<StateSubscription> subscription_;

  std::map<std::string, SessionPtr> sessions_;  // by host id
  absl::flat_hash_map<const AgentStream*, SessionPtr> by_stream_;
};

}  // namespace nestor::server
