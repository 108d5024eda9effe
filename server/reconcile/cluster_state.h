// The server's state: the store's content in memory, and the one way to change it.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "api/support/clock.h"
#include "google/protobuf/message.h"
#include "server/core/decision.h"
#include "server/core/view.h"
#include "server/store/store.h"

namespace nestor::server {

// What a change led to.
struct Applied {
  std::shared_ptr<google::protobuf::Message> reply;  // nobody else has it
  int64_t revision = 0;  // of the commit, or the head where nothing was written
};

// Ends its subscription when destroyed; afterwards no callback runs.
class StateSubscription {
 public:
  virtual ~StateSubscription() = default;
};

// Thread-safe. No method waits for the store, so all may be called on a gRPC thread.
class ClusterState {
 public:
  using Decide = std::function<absl::StatusOr<Decision>(const View&, absl::Time now)>;
  using Done = std::function<void(absl::StatusOr<Applied>)>;
  using Listener = std::function<void(const std::vector<StateChange>&)>;

  // How a mutation treats retries of its client, and dry runs. For one hour the same request
  // under the same id gets the answer that was stored with its commit; an answer that changed
  // nothing is not stored.
  struct MutateOptions {
    std::string request_id;     // empty: none
    std::string scope;          // ids of different scopes have nothing to do with each other
    uint64_t request_hash = 0;  // Fingerprint of the request without its request_id
    bool validate_only = false;
  };

  // Loads the whole store. DATA_LOSS, FAILED_PRECONDITION: as View::Apply.
  static absl::StatusOr<std::unique_ptr<ClusterState>> Load(Store& store, const Clock& clock);
  // Tells the store, before it is loaded, that the run of the server before this one has ended
  // (server_runs.h). Waits for the disk. Errors: those of the store.
  static absl::Status BeginRun(Store& store);
  // The same for who cannot wait: what is to be committed before the store is loaded.
  static absl::StatusOr<Transaction> BeginningOfRun(Store& store);
  // Waits for the mutations that have begun; `store` must still be there.
  ~ClusterState();

  // Runs `read` on the present view, under a lock: it must be quick.
  void Read(absl::FunctionRef<void(const View&)> read) const;

  // Decides on the present view, commits, and calls `done` once, on the store's thread or on
  // the calling one. When the commit found that the view was stale, decides again on the newer
  // one; after a bounded number of times ABORTED CONTENTION. Mutations that lose again and again
  // get a turn, in which new ones wait; RESOURCE_EXHAUSTED QUEUE_FULL when too many do. What `done`
  // is told is visible in Read before it runs. `decide` is called under a lock: it must be quick.
  void Mutate(Decide decide, MutateOptions options, Done done);

  // Calls `listener` on the store's thread after the view took in one or several commits. It
  // must return quickly; it may Read, not Mutate, and not end a subscription.
  std::unique_ptr<StateSubscription> Subscribe(Listener listener);
  // The same when the resource of that name is among what changed, perhaps more than once.
  std::unique_ptr<StateSubscription> SubscribeTo(std::string name, Listener listener);

  int64_t HeadRevision() const;
  std::string Incarnation() const { return store_.Incarnation(); }

 private:
  struct Attempt;
  class Subscription;

  ClusterState(Store& store, const Clock& clock) : store_(store), clock_(clock) {}
  absl::Status LoadRows();
  absl::Status LoadRange(absl::string_view begin, absl::string_view end);
  void OnEvents(const std::vector<StoreEvent>& events);
  void Tell(const std::vector<StateChange>& changes);
  // Decides once and, if there is something to commit, does so.
  void Try(const std::shared_ptr<Attempt>& attempt);
  // The answer, where it needs no commit; otherwise fills in `transaction`.
  std::optional<absl::StatusOr<Applied>> DecideOnce(Attempt& attempt, Transaction* transaction);
  void OnCommitted(const std::shared_ptr<Attempt>& attempt, absl::StatusOr<int64_t> revision);
  void Finish(const Attempt& attempt, absl::StatusOr<Applied> applied);
  // The stored answer where the request was answered before.
  absl::StatusOr<std::optional<Applied>> FindAnswer(const Attempt& attempt, absl::Time now) const;
  void RememberAnswer(const Attempt& attempt, absl::Time now, Decision* decision) const;
  // Adds the removal of stored answers that expired or are too many.
  void MakeRoom(const Attempt& attempt, absl::Time now, Transaction* transaction) const;

  Store& store_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  View view_;
  absl::Status broken_;  // the view could not follow the store
  int64_t begun_ = 0;    // mutations that have not finished
  std::condition_variable all_finished_;
  // Mutations whose turn it is, since they were stale too often; others wait meanwhile.
  int64_t turns_ = 0;
  std::vector<std::shared_ptr<Attempt>> waiting_;
  std::mutex listeners_mutex_;
  // By the resource that they wait for, empty for all; then by id.
  absl::flat_hash_map<std::string, std::map<int64_t, Listener>> listeners_;
  int64_t next_listener_ = 0;
  std::unique_ptr<WatchHandle> watch_;  // last: its callbacks use what is above
};

}  // namespace nestor::server
