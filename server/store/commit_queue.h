// The transactions that wait for the commit thread.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "server/store/store.h"

namespace nestor::server {

struct QueuedTransaction {
  Transaction transaction;
  Store::CommitCallback done;
};

struct CommitQueueLimits {
  // Of everything that waits. A transaction larger than max_queued_bytes is taken when
  // nothing else waits.
  size_t max_queued_transactions;
  size_t max_queued_bytes;
  // Of one group. A transaction larger than either is a group of its own.
  size_t max_group_operations;  // compares, puts and deletes
  size_t max_group_bytes;
};

// Bounded, first in, first out. Thread-safe.
class CommitQueue {
 public:
  explicit CommitQueue(CommitQueueLimits limits) : limits_(limits) {}

  // Takes `item` over only where the answer is OK.
  //   RESOURCE_EXHAUSTED  QUEUE_FULL
  //   UNAVAILABLE         closed
  absl::Status Push(QueuedTransaction& item);

  // Waits for transactions, for Wake() or for Close(). Returns the next group, which is
  // empty after a mere Wake(); nothing once the queue is closed and empty.
  std::optional<std::vector<QueuedTransaction>> TakeGroup();

  // Makes TakeGroup() return even where nothing is queued.
  void Wake();

  size_t size() const;

  // No more is taken in; what is queued still comes out.
  void Close();

 private:
  struct Entry {
    QueuedTransaction item;
    size_t operations;
    size_t bytes;
  };

  const CommitQueueLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Entry> entries_;
  size_t queued_bytes_ = 0;
  bool woken_ = false;
  bool closed_ = false;
};

}  // namespace nestor::server
