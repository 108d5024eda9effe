// The server's state: the store's content in memory, and the one way to change it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

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
  std::shared_ptr<const google::protobuf::Message> reply;
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

  // How a mutation treats retries of its client, and dry runs.
  struct MutateOptions {
    // Empty: none. `scope` separates the ids of projects and services.
    std::string request_id;
    std::string scope;
    uint64_t request_hash = 0;  // Fingerprint of the request without its request_id
    bool validate_only = false;
  };

  // Loads the whole store. DATA_LOSS, FAILED_PRECONDITION: as View::Apply.
  static absl::StatusOr<std::unique_ptr<ClusterState>> Load(Store& store, const Clock& clock);
  ~ClusterState();

  // Runs `read` on the present view, under a lock: it must be quick.
  void Read(absl::FunctionRef<void(const View&)> read) const;

  // Decides on the present view, commits, and calls `done` once, on the store's thread or on
  // the calling one. When the commit found that the view was stale, decides again on the newer
  // one; after a bounded number of times ABORTED CONTENTION. The reply of `done` is visible in
  // Read before `done` runs.
  void Mutate(Decide decide, MutateOptions options, Done done);

  // Calls `listener` on the store's thread after the view took in each commit. It must return
  // quickly; it may Read, not Mutate.
  std::unique_ptr<StateSubscription> Subscribe(Listener listener);

  int64_t HeadRevision() const;
  std::string Incarnation() const { return store_.Incarnation(); }

 private:
  struct Attempt;
  class Subscription;

  ClusterState(Store& store, const Clock& clock) : store_(store), clock_(clock) {}
  absl::Status LoadRows();
  void OnEvents(const std::vector<StoreEvent>& events);
  void Try(std::shared_ptr<Attempt> attempt);
  // The stored answer where the request was answered before.
  absl::StatusOr<std::optional<Applied>> FindAnswer(const Attempt& attempt) const;
  void RememberAnswer(const Attempt& attempt, absl::Time now, Decision* decision) const;

  Store& store_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  View view_;
  absl::Status broken_;  // the view could not follow the store
  std::mutex listeners_mutex_;
  std::map<int64_t, Listener> listeners_;
  int64_t next_listener_ = 0;
  std::unique_ptr<WatchHandle> watch_;  // last: its callbacks use what is above
};

}  // namespace nestor::server
