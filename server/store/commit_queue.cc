#include "server/store/commit_queue.h"

#include <utility>

#include "absl/time/time.h"
#include "api/support/errors.h"

namespace nestor::server {
namespace {

// A full queue is 4096 transactions, which drain in a few synced writes.
constexpr absl::Duration kRetryFullQueueAfter = absl::Milliseconds(100);
// About the time in which a server that closes its store is replaced.
constexpr absl::Duration kRetryClosedStoreAfter = absl::Seconds(5);

size_t CountOperations(const Transaction& transaction) {
  return transaction.compares.size() + transaction.puts.size() + transaction.deletes.size();
}

size_t CountBytes(const Transaction& transaction) {
  size_t bytes = 0;
  for (const Compare& compare : transaction.compares) {
    bytes += compare.key.size() + compare.range_end.size();
  }
  for (const auto& [key, value] : transaction.puts) bytes += key.size() + value.size();
  for (const std::string& key : transaction.deletes) bytes += key.size();
  return bytes;
}

}  // namespace

absl::Status CommitQueue::Push(QueuedTransaction& item) {
  const size_t operations = CountOperations(item.transaction);
  const size_t bytes = CountBytes(item.transaction);
  std::lock_guard lock(mutex_);
  if (closed_) return errors::Unavailable("the store is closing", kRetryClosedStoreAfter);
  const bool has_room = entries_.size() < limits_.max_queued_transactions &&
                        (entries_.empty() || queued_bytes_ + bytes <= limits_.max_queued_bytes);
  if (!has_room) return errors::QueueFull("commit queue", kRetryFullQueueAfter);
  entries_.push_back({std::move(item), operations, bytes});
  queued_bytes_ += bytes;
  changed_.notify_one();
  return absl::OkStatus();
}

std::optional<std::vector<QueuedTransaction>> CommitQueue::TakeGroup() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !entries_.empty() || woken_ || closed_; });
  woken_ = false;
  if (entries_.empty() && closed_) return std::nullopt;
  std::vector<QueuedTransaction> group;
  size_t operations = 0;
  size_t bytes = 0;
  while (!entries_.empty()) {
    Entry& next = entries_.front();
    operations += next.operations;
    bytes += next.bytes;
    const bool fits =
        operations <= limits_.max_group_operations && bytes <= limits_.max_group_bytes;
    if (!group.empty() && !fits) break;
    queued_bytes_ -= next.bytes;
    group.push_back(std::move(next.item));
    entries_.pop_front();
  }
  return group;
}

void CommitQueue::Wake() {
  std::lock_guard lock(mutex_);
  woken_ = true;
  changed_.notify_one();
}

size_t CommitQueue::size() const {
  std::lock_guard lock(mutex_);
  return entries_.size();
}

void CommitQueue::Close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_one();
}

}  // namespace nestor::server
