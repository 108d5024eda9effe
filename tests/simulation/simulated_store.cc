#include "tests/simulation/simulated_store.h"

#include <algorithm>
#include <utility>

#include "api/support/errors.h"

namespace nestor::simulation {
namespace {

using server::Compare;
using server::KeyValue;
using server::StoreEvent;
using server::Transaction;

constexpr size_t kMaxQueued = 4096;

absl::Status Gone() {
  return errors::Unavailable("the server's process has ended", absl::Seconds(1));
}

}  // namespace

void SimulatedDisk::Remember(const std::string& key) {
  auto it = content_.rows.find(key);
  unsynced_.push_back(
      {key, it == content_.rows.end() ? std::nullopt : std::optional<KeyValue>(it->second),
       content_.revision});
}

int64_t SimulatedDisk::Write(const Transaction& transaction) {
  for (const auto& [key, value] : transaction.puts) Remember(key);
  for (const std::string& key : transaction.deletes) Remember(key);
  const int64_t revision = ++content_.revision;
  for (const auto& [key, value] : transaction.puts) {
    content_.rows[key] = {key, value, revision};
  }
  for (const std::string& key : transaction.deletes) content_.rows.erase(key);
  return revision;
}

void SimulatedDisk::CutPower() {
  for (; !unsynced_.empty(); unsynced_.pop_back()) {
    Undo& undo = unsynced_.back();
    if (undo.before.has_value()) {
      content_.rows[undo.key] = *std::move(undo.before);
    } else {
      content_.rows.erase(undo.key);
    }
    content_.revision = undo.revision_before;
  }
}

void SimulatedDisk::Restore(Content content) {
  content_ = std::move(content);
  unsynced_.clear();
}

class SimulatedStore::Handle final : public server::WatchHandle {
 public:
  Handle(std::shared_ptr<Watches> watches, int64_t id) : watches_(std::move(watches)), id_(id) {}
  ~Handle() override { watches_->erase(id_); }

 private:
  const std::shared_ptr<Watches> watches_;
  const int64_t id_;
};

SimulatedStore::SimulatedStore(Scheduler& scheduler, Process& process, SimulatedDisk& disk,
                               StoreFlaws flaws, Observer observer)
    : scheduler_(scheduler),
      process_(process),
      disk_(disk),
      flaws_(flaws),
      observer_(std::move(observer)),
      shown_revision_(disk.content().revision) {
  // Opening replays the log onto stable storage.
  disk_.Sync();
  synced_revision_ = shown_revision_;
}

void SimulatedStore::Close() {
  closed_ = true;
  if (const auto group = std::exchange(group_, nullptr)) {
    for (Answer& answer : group->answers) answer.done(Gone());
  }
  for (Queued& queued : std::exchange(queue_, {})) queued.done(Gone());
}

void SimulatedStore::CommitAtStart(const Transaction& transaction) {
  if (transaction.puts.empty() && transaction.deletes.empty()) return;
  shown_revision_ = synced_revision_ = disk_.Write(transaction);
  disk_.Sync();
}

void SimulatedStore::Commit(Transaction transaction, CommitCallback done) {
  if (closed_) return done(Gone());
  if (queue_.size() >= kMaxQueued) {
    return done(errors::QueueFull("commit queue", absl::Milliseconds(100)));
  }
  queue_.push_back({std::move(transaction), std::move(done)});
  if (writing_) return;
  writing_ = true;
  process_.PostAfter(scheduler_.choices().Between(absl::Microseconds(20), absl::Microseconds(500)),
                     [this] { WriteGroup(); });
}

void SimulatedStore::WriteGroup() {
  auto group = std::make_shared<Group>();
  group_ = group;
  for (; !queue_.empty(); queue_.pop_front()) {
    Queued& queued = queue_.front();
    group->synced |= queued.transaction.durability == server::Durability::kSynced;
    group->answers.push_back({std::move(queued.done), WriteOne(queued.transaction, group.get())});
  }
  if (group->synced && !flaws_.answers_before_sync) {
    const absl::Duration sync =
        scheduler_.choices().Between(absl::Microseconds(100), absl::Milliseconds(20));
    return process_.PostAfter(sync, [this, group] {
      disk_.Sync();
      Tell(group);
    });
  }
  Tell(group);
}

absl::StatusOr<int64_t> SimulatedStore::WriteOne(const Transaction& transaction, Group* group) {
  if (absl::Status status = CheckCompares(transaction); !status.ok()) return status;
  const auto& rows = disk_.content().rows;
  auto is_there = [&](const std::string& key) { return rows.contains(key); };
  const bool deletes =
      std::any_of(transaction.deletes.begin(), transaction.deletes.end(), is_there);
  if (transaction.puts.empty() && !deletes) return disk_.content().revision;
  observer_(transaction);
  Transaction real = transaction;
  std::erase_if(real.deletes, [&](const std::string& key) { return !is_there(key); });
  const int64_t revision = disk_.Write(real);
  for (const auto& [key, value] : real.puts) group->events.push_back({revision, key, value});
  for (const std::string& key : real.deletes) {
    group->events.push_back({revision, key, std::nullopt});
  }
  return revision;
}

absl::Status SimulatedStore::CheckCompares(const Transaction& transaction) const {
  if (flaws_.ignores_compares) return absl::OkStatus();
  const auto& rows = disk_.content().rows;
  for (const Compare& compare : transaction.compares) {
    auto it = rows.lower_bound(compare.key);
    if (compare.kind == Compare::Kind::kUnchanged) {
      const bool found = it != rows.end() && it->first == compare.key;
      if ((found ? it->second.mod_revision : 0) != compare.revision) {
        return absl::AbortedError(compare.key);
      }
      continue;
    }
    for (; it != rows.end() && (compare.range_end.empty() || it->first < compare.range_end); ++it) {
      if (it->second.mod_revision > compare.revision) return absl::AbortedError(it->first);
    }
  }
  return absl::OkStatus();
}

void SimulatedStore::Tell(const std::shared_ptr<Group>& group) {
  if (!group->events.empty()) {
    shown_revision_ = group->events.back().revision;
    if (group->synced) synced_revision_ = shown_revision_;
    const Watches watches = *watches_;
    for (const auto& [id, callback] : watches) callback(group->events);
  }
  group_ = nullptr;
  for (Answer& answer : group->answers) answer.done(std::move(answer.revision));
  writing_ = false;
  if (queue_.empty()) return;
  writing_ = true;
  process_.PostAfter(absl::Microseconds(20), [this] { WriteGroup(); });
}

absl::StatusOr<std::vector<KeyValue>> SimulatedStore::Range(absl::string_view begin,
                                                            absl::string_view end, size_t limit) {
  std::vector<KeyValue> found;
  const auto& rows = disk_.content().rows;
  for (auto it = rows.lower_bound(std::string(begin)); it != rows.end(); ++it) {
    if (!end.empty() && it->first >= end) break;
    found.push_back(it->second);
    if (found.size() == limit) break;
  }
  return found;
}

absl::StatusOr<std::unique_ptr<server::WatchHandle>> SimulatedStore::Watch(
    int64_t after, server::WatchCallback callback) {
  if (after != shown_revision_) return errors::RevisionCompacted(after, shown_revision_);
  (*watches_)[next_watch_] = std::move(callback);
  return std::make_unique<Handle>(watches_, next_watch_++);
}

}  // namespace nestor::simulation
