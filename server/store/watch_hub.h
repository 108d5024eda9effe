// The watch half of a store: keeps the newest events and brings them to watchers.
//
// A watcher is a position in the history. Live events go into the history first, so one
// loop serves both a watcher that resumes and one that is up to date.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/store/store.h"

namespace nestor::server {

// How far back a watch may resume. Whatever is exceeded first ends the history. The newest
// commit is always kept, and age counts back from it.
struct WatchHistoryLimits {
  size_t max_events = 100'000;
  absl::Duration max_age = absl::Minutes(10);
};

// Thread-safe, but for Append() and Deliver(): only the store's own thread calls those.
class WatchHub {
 public:
  // `head`: the revision at which the store stands; a watch cannot reach back behind it.
  WatchHub(WatchHistoryLimits limits, int64_t head);
  WatchHub(const WatchHub&) = delete;
  WatchHub& operator=(const WatchHub&) = delete;

  // Adds a commit, whose revision follows the last. Watchers hear of it from Deliver().
  void Append(int64_t revision, std::vector<StoreEvent> events, absl::Time now);

  // Calls each watcher back until it has seen all that was appended, with whole commits,
  // about a thousand events at a time. Then forgets what the limits no longer allow.
  void Deliver();

  // See Store::Watch. The first events come with the next Deliver(). The handle may be
  // destroyed at any time: inside the callback, and after the hub.
  absl::StatusOr<std::unique_ptr<WatchHandle>> Watch(int64_t after, WatchCallback callback);

 private:
  struct Commit {
    int64_t revision;
    absl::Time time;
    std::shared_ptr<const std::vector<StoreEvent>> events;
  };
  class Watcher;
  class Handle;

  void Forget();
  std::vector<std::shared_ptr<Watcher>> LiveWatchers();
  // What the watcher has yet to see, or a first part of it; null: nothing.
  std::shared_ptr<const std::vector<StoreEvent>> NextEvents(Watcher& watcher);

  const WatchHistoryLimits limits_;
  std::mutex mutex_;
  std::deque<Commit> history_;  // every revision above compacted_, in order
  size_t history_events_ = 0;
  int64_t compacted_;
  std::vector<std::weak_ptr<Watcher>> watchers_;
};

}  // namespace nestor::server
