#include "server/store/commit_group.h"

#include <algorithm>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "api/support/status_macros.h"

namespace nestor::server {
namespace {

absl::Status Changed(absl::string_view key, int64_t actual, int64_t expected) {
  return absl::AbortedError(absl::StrFormat("key %s is at revision %d, not as read at %d",
                                            absl::CHexEscape(key), actual, expected));
}

}  // namespace

absl::StatusOr<int64_t> CommitGroup::Add(Transaction transaction) {
  RETURN_IF_ERROR(LoadStates(transaction));
  for (const Compare& compare : transaction.compares) RETURN_IF_ERROR(Check(compare));
  const bool changes = !transaction.puts.empty() ||
                       std::any_of(transaction.deletes.begin(), transaction.deletes.end(),
                                   [this](const std::string& key) {
                                     return states_.find(key)->second.revision != 0;
                                   });
  if (!changes) return head_.revision;
  CommittedTransaction commit{++head_.revision, {}};
  commit.events.reserve(transaction.puts.size() + transaction.deletes.size());
  for (auto& [key, value] : transaction.puts) Put(std::move(key), std::move(value), commit);
  for (std::string& key : transaction.deletes) Delete(std::move(key), commit);
  synced_ = synced_ || transaction.durability == Durability::kSynced;
  committed_.push_back(std::move(commit));
  return head_.revision;
}

// Loads all before anything is staged, so that an unreadable row leaves no half of a
// transaction behind.
absl::Status CommitGroup::LoadStates(const Transaction& transaction) {
  for (const Compare& compare : transaction.compares) {
    if (compare.kind == Compare::Kind::kUnchanged) RETURN_IF_ERROR(LoadState(compare.key));
  }
  for (const auto& [key, value] : transaction.puts) RETURN_IF_ERROR(LoadState(key));
  for (const std::string& key : transaction.deletes) RETURN_IF_ERROR(LoadState(key));
  return absl::OkStatus();
}

absl::Status CommitGroup::LoadState(absl::string_view key) {
  if (states_.contains(key)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::optional<Row> row, reader_.Find(DataKey(key)));
  KeyState state;
  if (row) state = {row->revision, row->checksum};
  states_.emplace(key, state);
  return absl::OkStatus();
}

absl::Status CommitGroup::Check(const Compare& compare) {
  switch (compare.kind) {
    case Compare::Kind::kUnchanged:
      return CheckUnchanged(compare);
    case Compare::Kind::kRangeUnchanged:
      return CheckRangeUnchanged(compare);
  }
  return absl::InvalidArgumentError("unknown kind of compare");
}

absl::Status CommitGroup::CheckUnchanged(const Compare& compare) {
  const int64_t actual = states_.find(compare.key)->second.revision;
  if (actual != compare.revision) return Changed(compare.key, actual, compare.revision);
  return absl::OkStatus();
}

absl::Status CommitGroup::CheckRangeUnchanged(const Compare& compare) {
  // Ranges are rare, and the group is small: an order of its keys would cost every key more.
  for (const auto& [key, state] : states_) {
    const bool in_range =
        key >= compare.key && (compare.range_end.empty() || key < compare.range_end);
    if (in_range && state.revision > compare.revision) {
      return Changed(key, state.revision, compare.revision);
    }
  }
  absl::Status result;
  RETURN_IF_ERROR(
      reader_.Scan(compare.key, compare.range_end, [&](absl::string_view key, const Row& row) {
        // What the group knows of a key is newer, and judged above.
        if (row.revision > compare.revision && !states_.contains(key)) {
          result = Changed(key, row.revision, compare.revision);
        }
        return result.ok();
      }));
  return result;
}

void CommitGroup::Put(std::string key, std::string value, CommittedTransaction& commit) {
  KeyState& state = states_.find(key)->second;
  CountOut(state);
  std::string stored_key = DataKey(key);
  std::string row = EncodeRow(stored_key, commit.revision, value);
  state = {commit.revision, EncodedChecksum(row)};
  ++head_.rows;
  head_.checksum_sum += state.checksum;
  writes_.push_back({std::move(stored_key), std::move(row), false});
  commit.events.push_back({commit.revision, std::move(key), std::move(value)});
}

void CommitGroup::Delete(std::string key, CommittedTransaction& commit) {
  KeyState& state = states_.find(key)->second;
  if (state.revision == 0) return;
  CountOut(state);
  state = KeyState();
  writes_.push_back({DataKey(key), "", true});
  commit.events.push_back({commit.revision, std::move(key), std::nullopt});
}

void CommitGroup::CountOut(const KeyState& state) {
  if (state.revision == 0) return;
  --head_.rows;
  head_.checksum_sum -= state.checksum;
}

}  // namespace nestor::server
