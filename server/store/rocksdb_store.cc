#include "server/store/rocksdb_store.h"

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "api/support/errors.h"
#include "api/support/status_macros.h"

namespace nestor::server {
namespace {

// Only a restart mends a store that failed.
constexpr absl::Duration kRetryFailedStoreAfter = absl::Seconds(30);

CommitQueueLimits QueueLimits(const RocksDbStoreOptions& options) {
  return {options.max_queued_transactions, options.max_queued_bytes, options.max_group_operations,
          options.max_group_bytes};
}

rocksdb::WriteBatch MakeBatch(const CommitGroup& group, const std::string& mark) {
  rocksdb::WriteBatch batch;
  // At both ends: RocksDB splits a batch at the block boundaries of its log, and a mark
  // that is split cannot be found.
  batch.PutLogData(mark);
  for (const CommitGroup::Write& write : group.writes()) {
    if (write.deleted) {
      batch.Delete(write.stored_key);
    } else {
      batch.Put(write.stored_key, write.row);
    }
  }
  batch.Put(std::string(kHeadKey), EncodeHead(group.head()));
  batch.PutLogData(mark);
  return batch;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RocksDbStore>> RocksDbStore::Open(const std::string& path,
                                                                 const RocksDbStoreOptions& options,
                                                                 const Clock& clock) {
  ASSIGN_OR_RETURN(Database database,
                   OpenDatabase(path, {options.write_buffer_bytes, options.block_cache_bytes,
                                       options.file_system}));
  return std::unique_ptr<RocksDbStore>(new RocksDbStore(path, std::move(database), options, clock));
}

RocksDbStore::RocksDbStore(std::string path, Database database, const RocksDbStoreOptions& options,
                           const Clock& clock)
    : clock_(clock),
      on_group_(options.on_group),
      database_(std::move(database)),
      reader_(*database_.db, std::move(path)),
      head_revision_(database_.head.revision),
      synced_revision_(database_.head.revision),
      queue_(QueueLimits(options)),
      hub_(options.history, database_.head.revision),
      head_(database_.head),
      last_synced_(database_.head.revision),
      commit_thread_([this] { Run(); }) {}

RocksDbStore::~RocksDbStore() {
  queue_.Close();
  commit_thread_.join();
  for (ptrdiff_t i = 0; i < kMaxUntold; ++i) untold_.acquire();
  telling_.Stop();
  // An orderly end makes relaxed commits durable, too; nobody was promised that.
  if (failure_.ok()) MarkSynced(database_, head_.revision).PermitUncheckedError();
}

void RocksDbStore::Commit(Transaction transaction, CommitCallback done) {
  QueuedTransaction item{std::move(transaction), std::move(done)};
  if (absl::Status status = queue_.Push(item); !status.ok()) item.done(std::move(status));
}

void RocksDbStore::Run() {
  while (auto transactions = queue_.TakeGroup()) {
    std::shared_ptr<Outcome> outcome = CommitTogether(*std::move(transactions));
    untold_.acquire();
    telling_.Post([this, outcome = std::move(outcome)] {
      Tell(*outcome);
      untold_.release();
    });
  }
}

std::shared_ptr<RocksDbStore::Outcome> RocksDbStore::CommitTogether(
    std::vector<QueuedTransaction> transactions) {
  auto outcome = std::make_shared<Outcome>();
  outcome->transactions = std::move(transactions);
  CommitGroup group(reader_, head_);
  if (failure_.ok()) {
    for (auto& [transaction, done] : outcome->transactions) {
      outcome->answers.push_back(group.Add(std::move(transaction)));
    }
    failure_ = Write(group);
  }
  if (failure_.ok()) {
    head_ = group.head();
    if (group.synced()) last_synced_ = head_.revision;
    outcome->commits = group.TakeCommitted();
  } else {
    // Refusals, too: they were judged against members that are not stored.
    outcome->answers.assign(outcome->transactions.size(), failure_);
  }
  outcome->head = head_.revision;
  outcome->synced_revision = last_synced_;
  return outcome;
}

void RocksDbStore::Tell(Outcome& outcome) {
  head_revision_ = outcome.head;
  synced_revision_ = outcome.synced_revision;
  for (CommittedTransaction& commit : outcome.commits) {
    hub_.Append(commit.revision, std::move(commit.events), clock_.Now());
  }
  hub_.Deliver();
  for (size_t i = 0; i < outcome.transactions.size(); ++i) {
    outcome.transactions[i].done(std::move(outcome.answers[i]));
  }
}

absl::Status RocksDbStore::Write(const CommitGroup& group) {
  if (group.empty()) return absl::OkStatus();
  rocksdb::WriteBatch batch = MakeBatch(
      group,
      EncodeLogMark(database_.identity, {last_synced_, head_.revision, group.head().revision}));
  rocksdb::WriteOptions options;
  options.sync = group.synced();
  const auto start = std::chrono::steady_clock::now();
  const rocksdb::Status status = database_.db->Write(options, &batch);
  if (on_group_) {
    on_group_(group.transactions(), group.synced(),
              absl::FromChrono(std::chrono::steady_clock::now() - start));
  }
  if (status.ok()) return absl::OkStatus();
  return errors::Unavailable(
      absl::StrCat("the store at ", reader_.path(), " failed and takes no more writes until the ",
                   "server is started again: ", status.ToString()),
      kRetryFailedStoreAfter);
}

absl::StatusOr<std::vector<KeyValue>> RocksDbStore::Range(absl::string_view begin,
                                                          absl::string_view end, size_t limit) {
  std::vector<KeyValue> result;
  RETURN_IF_ERROR(reader_.Scan(begin, end, [&](absl::string_view key, Row row) {
    result.push_back({std::string(key), std::move(row.value), row.revision});
    return result.size() != limit;
  }));
  return result;
}

int64_t RocksDbStore::HeadRevision() const { return head_revision_; }

int64_t RocksDbStore::SyncedRevision() const { return synced_revision_; }

std::string RocksDbStore::Incarnation() const { return database_.incarnation; }

absl::StatusOr<std::unique_ptr<WatchHandle>> RocksDbStore::Watch(int64_t after,
                                                                 WatchCallback callback) {
  auto handle = hub_.Watch(after, std::move(callback));
  queue_.Wake();
  return handle;
}

}  // namespace nestor::server
