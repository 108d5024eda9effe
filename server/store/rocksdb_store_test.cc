// What is particular to the RocksDB adapter: groups, syncs and failures of the disk.

#include "server/store/rocksdb_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "api/support/errors.h"
#include "server/store/fault_injecting_file_system.h"
#include "server/store/testing.h"

namespace nestor::server {
namespace {

using Operation = FaultInjectingFileSystem::Operation;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class RocksDbStoreTest : public ::testing::Test {
 protected:
  RocksDbStoreOptions Options() {
    RocksDbStoreOptions options = SmallStoreOptions();
    options.file_system = disk_;
    return options;
  }

  // Commits one transaction with each durability while the commit thread is busy, so that
  // they share a group.
  std::vector<absl::StatusOr<int64_t>> CommitAsOneGroup(RocksDbStore& store,
                                                        std::vector<Durability> durabilities) {
    std::promise<void> blocked;
    std::promise<void> release;
    store.Commit({}, [&](auto) {
      blocked.set_value();
      release.get_future().wait();
    });
    blocked.get_future().wait();
    // Once it is taken, the commit thread waits until the one before is told of.
    store.Commit({}, [](auto) {});
    while (store.Queued() > 0) std::this_thread::yield();
    std::vector<std::promise<absl::StatusOr<int64_t>>> answers(durabilities.size());
    for (size_t i = 0; i < durabilities.size(); ++i) {
      store.Commit({{}, {{std::to_string(i), "value"}}, {}, durabilities[i]},
                   [&answers, i](auto revision) { answers[i].set_value(revision); });
    }
    release.set_value();
    std::vector<absl::StatusOr<int64_t>> results;
    results.reserve(answers.size());
    for (auto& answer : answers) results.push_back(answer.get_future().get());
    return results;
  }

  TemporaryDirectory backups_;
  std::shared_ptr<FaultInjectingFileSystem> disk_ =
      std::make_shared<FaultInjectingFileSystem>(backups_.path());
};

TEST_F(RocksDbStoreTest, GroupOfManyTransactionsIsSyncedOnce) {
  TemporaryStore store(Options());
  const int before = disk_->Count(Operation::kSync);
  const auto revisions = CommitAsOneGroup(*store, std::vector(100, Durability::kSynced));
  EXPECT_EQ(disk_->Count(Operation::kSync) - before, 1);
  for (size_t i = 0; i < revisions.size(); ++i) {
    EXPECT_EQ(revisions[i].value_or(0), static_cast<int64_t>(i) + 1);
  }
}

TEST_F(RocksDbStoreTest, GroupOfRelaxedTransactionsIsNotSynced) {
  TemporaryStore store(Options());
  const int before = disk_->Count(Operation::kSync);
  CommitAsOneGroup(*store, std::vector(100, Durability::kRelaxed));
  EXPECT_EQ(disk_->Count(Operation::kSync), before);
  EXPECT_EQ(store->HeadRevision(), 100);
  EXPECT_EQ(store->SyncedRevision(), 0);
}

TEST_F(RocksDbStoreTest, OneSyncedTransactionSyncsItsGroup) {
  TemporaryStore store(Options());
  const int before = disk_->Count(Operation::kSync);
  CommitAsOneGroup(*store, {Durability::kRelaxed, Durability::kSynced, Durability::kRelaxed});
  EXPECT_EQ(disk_->Count(Operation::kSync) - before, 1);
}

TEST_F(RocksDbStoreTest, GroupLimitsSplitWhatWaits) {
  RocksDbStoreOptions options = Options();
  options.max_group_operations = 10;
  TemporaryStore store(options);
  const int before = disk_->Count(Operation::kSync);
  CommitAsOneGroup(*store, std::vector(100, Durability::kSynced));
  EXPECT_EQ(disk_->Count(Operation::kSync) - before, 10);
}

TEST_F(RocksDbStoreTest, TransactionOverTheGroupLimitsIsAGroupOfItsOwn) {
  RocksDbStoreOptions options = Options();
  options.max_group_bytes = 10;
  options.max_queued_bytes = 10;
  TemporaryStore store(options);
  EXPECT_TRUE(CommitAndWait(*store, {{}, {{"key", std::string(1000, 'x')}}, {}}).ok());
}

TEST_F(RocksDbStoreTest, QueuedBytesAreBounded) {
  RocksDbStoreOptions options = Options();
  options.max_queued_bytes = 50;  // CommitAsOneGroup queues 6 bytes each
  TemporaryStore store(options);
  const auto answers = CommitAsOneGroup(*store, std::vector(10, Durability::kSynced));
  for (size_t i = 0; i < 8; ++i) EXPECT_TRUE(answers[i].ok());
  for (size_t i = 8; i < 10; ++i) EXPECT_EQ(ErrorReason(answers[i].status()), "QUEUE_FULL");
}

TEST_F(RocksDbStoreTest, ClosingCommitsWhatIsQueued) {
  TemporaryStore store(Options());
  std::promise<void> release;
  store->Commit({}, [&](auto) { release.get_future().wait(); });
  int answered = 0;
  for (int i = 0; i < 10; ++i) {
    store->Commit({{}, {{std::to_string(i), ""}}, {}},
                  [&](auto answer) { answered += answer.ok(); });
  }
  release.set_value();
  store.Reopen();
  EXPECT_EQ(answered, 10);
  EXPECT_THAT(*store->Range("", "", 0), SizeIs(10));
}

struct DiskFailure {
  std::string name;
  Operation operation;
  rocksdb::IOStatus (*error)();
};

std::ostream& operator<<(std::ostream& out, const DiskFailure& failure) {
  return out << failure.name;
}

class FailingDisk : public RocksDbStoreTest, public ::testing::WithParamInterface<DiskFailure> {};

TEST_P(FailingDisk, EndsWritesForGoodWhileReadsGoOn) {
  RocksDbStoreOptions options = Options();
  TemporaryStore store(options);
  const auto commit = [&](std::string key) {
    return CommitAndWait(*store, {{}, {{std::move(key), ""}}, {}}).status();
  };
  ASSERT_TRUE(commit("before").ok());
  std::vector<StoreEvent> events;
  const auto handle = store->Watch(
      1, [&](const auto& seen) { events.insert(events.end(), seen.begin(), seen.end()); });
  disk_->FailNth(GetParam().operation, 1, GetParam().error());
  const absl::Status failed = commit("failed");
  EXPECT_EQ(failed.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(failed.message()), HasSubstr(store.path()));

  const int writes = disk_->Count(Operation::kAppend) + disk_->Count(Operation::kSync);
  EXPECT_EQ(commit("after").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(disk_->Count(Operation::kAppend) + disk_->Count(Operation::kSync), writes);
  EXPECT_THAT(events, IsEmpty());
  EXPECT_EQ(store->HeadRevision(), 1);
  EXPECT_THAT(*store->Range("", "", 0), SizeIs(1));

  store.Reopen();
  EXPECT_THAT(*store->Range("before", "before\xff", 0), SizeIs(1));
  EXPECT_TRUE(commit("later").ok());
}

TEST_P(FailingDisk, AnswersEveryMemberOfTheGroup) {
  TemporaryStore store(Options());
  disk_->FailNth(GetParam().operation, 1, GetParam().error());
  for (const auto& answer : CommitAsOneGroup(*store, std::vector(5, Durability::kSynced))) {
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable);
  }
}

rocksdb::IOStatus DiskFailed() { return rocksdb::IOStatus::IOError("EIO"); }

// As RocksDB's own file system reports a full disk.
rocksdb::IOStatus DiskFull() {
  rocksdb::IOStatus status = rocksdb::IOStatus::NoSpace("ENOSPC");
  status.SetRetryable(true);
  return status;
}

// An error that RocksDB believes another file will not have.
rocksdb::IOStatus FileFailed() {
  rocksdb::IOStatus status = rocksdb::IOStatus::IOError("EIO");
  status.SetScope(rocksdb::IOStatus::IOErrorScope::kIOErrorScopeFile);
  return status;
}

INSTANTIATE_TEST_SUITE_P(
    RocksDb, FailingDisk,
    ::testing::Values(DiskFailure{"AppendEio", Operation::kAppend, DiskFailed},
                      DiskFailure{"AppendEnospc", Operation::kAppend, DiskFull},
                      DiskFailure{"SyncEio", Operation::kSync, DiskFailed},
                      DiskFailure{"SyncEnospc", Operation::kSync, DiskFull},
                      DiskFailure{"SyncOfOneFile", Operation::kSync, FileFailed}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace nestor::server
