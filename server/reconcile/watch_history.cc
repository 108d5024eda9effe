#include "server/reconcile/watch_history.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "api/support/errors.h"

namespace nestor::server {

WatchHistory::WatchHistory(ClusterState& state, size_t capacity)
    : state_(state), capacity_(capacity) {
  subscription_ = state_.Subscribe([this](const auto& changes) { Append(changes); });
  const int64_t head = state_.HeadRevision();
  std::lock_guard lock(mutex_);
  // Some changes up to `head` may have come already; whether all did is not known.
  compacted_ = std::max(compacted_, head);
}

void WatchHistory::Append(const std::vector<StateChange>& changes) {
  std::lock_guard lock(mutex_);
  int32_t index = 0;
  for (size_t i = 0; i < changes.size(); ++i) {
    const int64_t revision = changes[i].revision;
    if (i > 0 && changes[i - 1].revision != revision) index = 0;
    const bool last = i + 1 == changes.size() || changes[i + 1].revision != revision;
    entries_.push_back({changes[i], {revision, last ? WatchPosition::kWholeRevision : index}});
    ++index;
  }
  while (entries_.size() > capacity_) {
    compacted_ = std::max(compacted_, entries_.front().change.revision);
    entries_.pop_front();
    ++first_sequence_;
  }
}

absl::StatusOr<int64_t> WatchHistory::FindAfter(const WatchPosition& position) const {
  const int64_t head = state_.HeadRevision();
  std::lock_guard lock(mutex_);
  const bool partly =
      position.revision == compacted_ && position.index != WatchPosition::kWholeRevision;
  if (position.revision < compacted_ || position.revision > head || partly) {
    return errors::RevisionCompacted(position.revision, compacted_);
  }
  auto it = std::partition_point(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return std::pair(entry.position.revision, entry.position.index) <=
           std::pair(position.revision, position.index);
  });
  return first_sequence_ + (it - entries_.begin());
}

int64_t WatchHistory::end() const {
  std::lock_guard lock(mutex_);
  return first_sequence_ + static_cast<int64_t>(entries_.size());
}

absl::StatusOr<std::optional<HistoryEntry>> WatchHistory::Get(int64_t sequence) const {
  std::lock_guard lock(mutex_);
  if (sequence < first_sequence_) return errors::RevisionCompacted(0, compacted_);
  const auto offset = static_cast<size_t>(sequence - first_sequence_);
  if (offset >= entries_.size()) return std::nullopt;
  return entries_[offset];
}

std::string WatchHistory::MakeToken(const WatchPosition& position) const {
  return absl::WebSafeBase64Escape(
      absl::StrCat(state_.Incarnation(), ":", position.revision, ":", position.index));
}

absl::StatusOr<WatchPosition> WatchHistory::ParseToken(absl::string_view token) const {
  std::string text;
  WatchPosition position;
  const bool decoded = absl::WebSafeBase64Unescape(token, &text);
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  if (!decoded || parts.size() != 3 || !absl::SimpleAtoi(parts[1], &position.revision) ||
      !absl::SimpleAtoi(parts[2], &position.index) || position.revision < 0 || position.index < 0) {
    return errors::FieldInvalid("resume_token", "is not one that Watch gave out");
  }
  if (parts[0] != state_.Incarnation()) {
    return errors::RevisionCompacted(position.revision, state_.HeadRevision());
  }
  return position;
}

}  // namespace nestor::server
