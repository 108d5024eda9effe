// The latest changes of the state, for watchers that read at their own pace.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/reconcile/cluster_state.h"

namespace nestor::server {

// A place in the history: after change `index` of `revision`.
struct WatchPosition {
  // After all changes of the revision.
  static constexpr int32_t kWholeRevision = 1 << 30;

  int64_t revision = 0;
  int32_t index = kWholeRevision;  // from 0
};

// A change, and the place after it.
struct HistoryEntry {
  StateChange change;
  WatchPosition position;
};

// Keeps the newest changes since it was made. A watcher holds a sequence number and nothing
// else, so a slow one costs no memory: it falls off the end. Thread-safe.
class WatchHistory {
 public:
  // Follows `state`, which must outlive this, keeping up to `capacity` changes.
  WatchHistory(ClusterState& state, size_t capacity);

  // The sequence number of the first change after `position`. OUT_OF_RANGE
  // REVISION_COMPACTED: the history begins later, or the store has not come so far.
  absl::StatusOr<int64_t> FindAfter(const WatchPosition& position) const;
  // The sequence number that the next change will get.
  int64_t end() const;
  // The change of that number; nothing where it has not happened yet. OUT_OF_RANGE
  // REVISION_COMPACTED: it is no longer kept.
  absl::StatusOr<std::optional<HistoryEntry>> Get(int64_t sequence) const;

  // Tokens: opaque, bound to one life of the store.
  std::string MakeToken(const WatchPosition& position) const;
  // INVALID_ARGUMENT FIELD_INVALID: not a token. OUT_OF_RANGE REVISION_COMPACTED: of another
  // life of the store.
  absl::StatusOr<WatchPosition> ParseToken(absl::string_view token) const;

 private:
  void Append(const std::vector<StateChange>& changes);

  ClusterState& state_;
  const size_t capacity_;
  mutable std::mutex mutex_;
  std::deque<HistoryEntry> entries_;
  int64_t first_sequence_ = 0;  // of entries_.front()
  int64_t compacted_ = 0;       // up to this revision not all is kept
  std::unique_ptr<StateSubscription> subscription_;
};

}  // namespace nestor::server
