// The embedded store: one RocksDB database in one directory, owned by one process.
//
// A single thread takes queued transactions in groups, judges their compares in order,
// writes each group as one batch, and syncs that once if any member asks for it. It then
// shows the commits to the watchers and runs the callbacks. An error of a write or a sync
// ends writing for good, since what the disk then holds is known only after a new start.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "api/support/clock.h"
#include "api/support/event_loop.h"
#include "server/store/commit_group.h"
#include "server/store/commit_queue.h"
#include "server/store/database.h"
#include "server/store/row_reader.h"
#include "server/store/store.h"
#include "server/store/watch_hub.h"

namespace rocksdb {
class FileSystem;
}  // namespace rocksdb

namespace nestor::server {

struct RocksDbStoreOptions {
  // Transactions that wait for their group; beyond either, Commit answers QUEUE_FULL.
  size_t max_queued_transactions = 4096;
  size_t max_queued_bytes = size_t{64} << 20;
  // Size of a group; a larger transaction is a group of its own. Bounds the time that one
  // write holds up all that come after it.
  size_t max_group_operations = 8192;  // compares, puts and deletes
  size_t max_group_bytes = size_t{4} << 20;
  WatchHistoryLimits history;
  // Memory. A write buffer also bounds the log that the next start reads.
  size_t write_buffer_bytes = size_t{16} << 20;
  size_t block_cache_bytes = size_t{64} << 20;
  // Called on the commit thread after each group: how many transactions it had, and how long
  // the write, and its sync if there was one, took. Must be quick.
  std::function<void(size_t transactions, bool synced, absl::Duration write)> on_group;
  // Null: the host's. Tests inject faults here.
  std::shared_ptr<rocksdb::FileSystem> file_system;
};

class RocksDbStore final : public Store {
 public:
  // Opens the database in directory `path`; creates directory and database where there is
  // none. Everything stored is read and verified before the first byte is written. `clock`
  // (which ages the watch history) must outlive the store. Errors name the path and what
  // to do:
  //   FAILED_PRECONDITION  not a store of this program, of a format it does not know, or
  //                        in use by another process
  //   PERMISSION_DENIED    the directory cannot be read or written
  //   DATA_LOSS            damaged; no file was changed. A log that merely ends early, as
  //                        a power cut leaves it, is not damage
  //   UNAVAILABLE          any other I/O error
  static absl::StatusOr<std::unique_ptr<RocksDbStore>> Open(const std::string& path,
                                                            const RocksDbStoreOptions& options,
                                                            const Clock& clock);
  // Commits what is queued, then closes.
  ~RocksDbStore() override;

  void Commit(Transaction transaction, CommitCallback done) override;
  absl::StatusOr<std::vector<KeyValue>> Range(absl::string_view begin, absl::string_view end,
                                              size_t limit) override;
  int64_t HeadRevision() const override;
  int64_t SyncedRevision() const override;
  std::string Incarnation() const override;
  // Transactions that wait for their group. Thread-safe.
  size_t Queued() const { return queue_.size(); }
  absl::StatusOr<std::unique_ptr<WatchHandle>> Watch(int64_t after,
                                                     WatchCallback callback) override;

 private:
  RocksDbStore(std::string path, Database database, const RocksDbStoreOptions& options,
               const Clock& clock);

  // A group that is written, or failed: what is left is to tell of it.
  struct Outcome {
    std::vector<QueuedTransaction> transactions;
    std::vector<absl::StatusOr<int64_t>> answers;
    std::vector<CommittedTransaction> commits;
    int64_t head = 0;             // as of this group
    int64_t synced_revision = 0;  // likewise
  };

  void Run();
  std::shared_ptr<Outcome> CommitTogether(std::vector<QueuedTransaction> transactions);
  absl::Status Write(const CommitGroup& group);
  void Tell(Outcome& outcome);

  const Clock& clock_;
  const decltype(RocksDbStoreOptions::on_group) on_group_;
  const Database database_;
  const RowReader reader_;
  std::atomic<int64_t> head_revision_;
  std::atomic<int64_t> synced_revision_;
  CommitQueue queue_;
  WatchHub hub_;

  // Used by the commit thread alone.
  StoreHead head_;
  int64_t last_synced_;
  absl::Status failure_;  // not OK: an earlier write failed, and none follows

  // Watchers and clients are told on a thread of their own, so that the next group is on its
  // way to the disk meanwhile; at most so many groups wait to be told of.
  static constexpr ptrdiff_t kMaxUntold = 1;
  std::counting_semaphore<kMaxUntold> untold_{kMaxUntold};
  EventLoop telling_;
  std::thread commit_thread_;
};

}  // namespace nestor::server
