// The store port: an ordered, revisioned key-value map with transactions and watches.
//
// Every committed transaction gets the next revision, 1, 2, 3, ...; revision 0 is the empty
// store. Keys are ordered as bytes. All methods are thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>
#include "absl/strings/string_view.h"

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace nestor::server {

// One key with its value.
struct KeyValue {
  std::string key;
  std::string value;
  int64_t mod_revision = 0;  // revision that last wrote it
  bool operator==(const KeyValue&) const = default;
};

// A condition of a transaction.
struct Compare {
  enum class Kind {
    kUnchanged,       // key's mod_revision equals `revision`; 0: the key is absent
    kRangeUnchanged,  // no key in [key, range_end) has a mod_revision above `revision`; a
                      // deletion leaves none behind and is not seen
  };
  Kind kind = Kind::kUnchanged;
  std::string key;
  std::string range_end;  // only kRangeUnchanged; empty: to the end of the key space
  int64_t revision = 0;

  static Compare Unchanged(std::string key, int64_t revision) {
    return {Kind::kUnchanged, std::move(key), "", revision};
  }
  static Compare Absent(std::string key) { return Unchanged(std::move(key), 0); }
  static Compare RangeUnchanged(std::string key, std::string range_end, int64_t revision) {
    return {Kind::kRangeUnchanged, std::move(key), std::move(range_end), revision};
  }
};

// What a commit promises.
enum class Durability {
  kSynced,   // on stable storage before `done` is called: intent, ABSENT, fences
  kRelaxed,  // survives a process crash, perhaps not a power cut: observed state
};

// All of `puts` and `deletes` happen, or none.
struct Transaction {
  std::vector<Compare> compares;
  std::vector<std::pair<std::string, std::string>> puts;  // key, value; no key twice
  std::vector<std::string> deletes;                       // absent keys are ignored
  Durability durability = Durability::kSynced;
};

// One change, as watchers see it.
struct StoreEvent {
  int64_t revision = 0;
  std::string key;
  std::optional<std::string> value;  // absent: deleted
};

// Receives the events of one or several whole commits, in order of revision; within one,
// puts in their order, then deletes. Called on the store's own thread: must return quickly.
// It may destroy its own handle, but must not call the store.
using WatchCallback = std::function<void(const std::vector<StoreEvent>& events)>;

// Stops its watch when destroyed; afterwards no callback runs. Waits for one that is running
// on the store's thread, so its owner must hold no lock that the callback takes.
class WatchHandle {
 public:
  virtual ~WatchHandle() = default;
};

class Store {
 public:
  // The answer to a commit: its revision, or
  //   ABORTED             a compare failed; nothing was written
  //   RESOURCE_EXHAUSTED  QUEUE_FULL: not accepted, nothing was written
  //   UNAVAILABLE         the store failed (disk full, I/O error) and takes no more writes;
  //                       whether this one is stored is known after a restart only
  //   DATA_LOSS           a row it compares or replaces does not verify; nothing was written
  // A commit that changes nothing (no puts, no delete of a key that is there) checks its
  // compares and answers the head revision.
  using CommitCallback = std::function<void(absl::StatusOr<int64_t> revision)>;

  // Answers what is queued, then closes. Its users must be done with it, but for handles.
  virtual ~Store() = default;

  // Queues a transaction and returns at once. `done` runs exactly once on the store's own
  // thread, after every watcher saw the commit; it must return quickly, and may commit
  // again. A bounded queue: when it is full, `done` runs on the calling thread with
  // RESOURCE_EXHAUSTED.
  virtual void Commit(Transaction transaction, CommitCallback done) = 0;

  // Keys in [begin, end) in order; empty end: to the end of the key space. At most `limit`
  // (0: all). Reads at the head. DATA_LOSS: a stored row does not verify.
  virtual absl::StatusOr<std::vector<KeyValue>> Range(absl::string_view begin,
                                                      absl::string_view end, size_t limit) = 0;

  // The newest revision.
  virtual int64_t HeadRevision() const = 0;

  // The newest revision that no power cut takes back: at most the head, which relaxed commits
  // advance alone. After a power cut the revisions above it may be given anew to other
  // commits, so what outlives the store (a fence) must hold none of them. A synced commit is
  // counted in before its watchers see it.
  virtual int64_t SyncedRevision() const = 0;

  // UUID of this life of the store, minted when it was created.
  virtual std::string Incarnation() const = 0;

  // Calls back with every event of revisions > `after`, history first, then live ones. The
  // history is kept in memory: a store just opened has none before its head.
  // OUT_OF_RANGE REVISION_COMPACTED: the history kept no longer reaches back that far.
  virtual absl::StatusOr<std::unique_ptr<WatchHandle>> Watch(int64_t after,
                                                             WatchCallback callback) = 0;
};

// Commit that waits: for start-up and tests, never on a gRPC thread.
absl::StatusOr<int64_t> CommitAndWait(Store& store, Transaction transaction);

// The first key after every key that begins with `prefix`; empty if there is none.
std::string PrefixEnd(absl::string_view prefix);

}  // namespace nestor::server
