// Power cuts at every point of a store's life, creation included.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/env.h>

#include <algorithm>
#include <future>
#include <random>

#include "absl/strings/str_cat.h"
#include "server/store/fault_injecting_file_system.h"
#include "server/store/testing.h"

namespace nestor::server {
namespace {

// Transaction n writes revision n: it moves both halves of a pair, and leaves a key behind.
Transaction MakeTransaction(int64_t n, Durability durability) {
  Transaction transaction;
  transaction.durability = durability;
  const std::string number = std::to_string(n);
  transaction.puts = {{"left", number}, {"right", number}, {"n/" + number, std::string(700, 'x')}};
  if (n > 5) transaction.deletes = {absl::StrCat("n/", n - 5)};
  return transaction;
}

// One store on one disk that loses power again and again.
class CrashingStore {
 public:
  explicit CrashingStore(unsigned seed) : random_(seed) {}

  // Opens and commits until the power fails, which it does after `operations` of the disk.
  void RunUntilPowerCut(int operations) {
    disk_->CutPowerAfter(operations);
    auto store = Open();
    while (store.ok()) {
      CheckContents(**store);
      if (!CommitSome(**store)) break;
    }
    store = absl::UnavailableError("closed");
    disk_->RestorePower(random_);
  }

  // What a start on a good disk must find.
  void CheckRecovery() {
    const auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    CheckContents(**store);
  }

  int64_t synced() const { return synced_; }

 private:
  absl::StatusOr<std::unique_ptr<RocksDbStore>> Open() {
    RocksDbStoreOptions options = SmallStoreOptions();
    options.write_buffer_bytes = 64 << 10;  // RocksDB's least: tables are written often
    options.file_system = disk_;
    return RocksDbStore::Open(directory_.path() + "/store", options, clock_);
  }

  // Whether all went well.
  bool CommitSome(RocksDbStore& store) {
    for (int i = 0; i < 20; ++i) {
      const Durability durability = random_() % 8 == 0 ? Durability::kSynced : Durability::kRelaxed;
      const int64_t next = store.HeadRevision() + 1;
      const auto revision = CommitAndWait(store, MakeTransaction(next, durability));
      if (!revision.ok()) return false;
      EXPECT_EQ(*revision, next);
      synced_ = durability == Durability::kSynced ? next : store.SyncedRevision();
      EXPECT_EQ(store.SyncedRevision(), synced_);
    }
    return true;
  }

  void CheckContents(RocksDbStore& store) {
    const int64_t head = store.HeadRevision();
    EXPECT_GE(head, synced_);
    if (synced_ > 0) {
      if (incarnation_.empty()) incarnation_ = store.Incarnation();
      EXPECT_EQ(store.Incarnation(), incarnation_);
    }
    std::vector<KeyValue> expected;
    if (head > 0) expected = {{"left", std::to_string(head), head}};
    std::vector<std::string> kept;
    for (int64_t n = std::max<int64_t>(head - 4, 1); n <= head; ++n) {
      kept.push_back(absl::StrCat("n/", n));
    }
    std::sort(kept.begin(), kept.end());
    for (const std::string& key : kept) {
      expected.push_back({key, std::string(700, 'x'), std::stoll(key.substr(2))});
    }
    if (head > 0) expected.push_back({"right", std::to_string(head), head});
    EXPECT_EQ(*store.Range("", "", 0), expected) << "at revision " << head;
  }

  std::mt19937 random_;
  SystemClock clock_;
  TemporaryDirectory directory_;
  TemporaryDirectory backups_;
  std::shared_ptr<FaultInjectingFileSystem> disk_ =
      std::make_shared<FaultInjectingFileSystem>(backups_.path());
  std::string incarnation_;
  int64_t synced_ = 0;
};

TEST(RocksDbCrash, PowerCutAtEachOperationOfCreationLeavesAStoreThatStarts) {
  for (int operations = 0; operations < 60; ++operations) {
    CrashingStore store(static_cast<unsigned>(operations));
    store.RunUntilPowerCut(operations);
    store.CheckRecovery();
    ASSERT_FALSE(::testing::Test::HasFailure()) << "cut after " << operations;
  }
}

// Its synced commits, so that the test knows it tried something.
int64_t LoseAndRestorePower(unsigned seed) {
  constexpr int kLives = 5;
  std::mt19937 random(seed);
  CrashingStore store(seed);
  for (int life = 0; life < kLives; ++life) {
    SCOPED_TRACE(absl::StrCat("seed ", seed, ", life ", life));
    store.RunUntilPowerCut(static_cast<int>(random() % 400));
    store.CheckRecovery();
  }
  return store.synced();
}

TEST(RocksDbCrash, PowerCutsAtRandomPointsLoseNoSyncedCommitAndTearNone) {
  // All at once, since RocksDB's thread sleeps a second after a write that failed.
  constexpr int kRuns = 20;
  rocksdb::Env::Default()->SetBackgroundThreads(kRuns, rocksdb::Env::HIGH);
  rocksdb::Env::Default()->SetBackgroundThreads(kRuns, rocksdb::Env::LOW);
  std::vector<std::future<int64_t>> runs;
  for (unsigned seed = 0; seed < kRuns; ++seed) {
    runs.push_back(std::async(std::launch::async, LoseAndRestorePower, seed));
  }
  int64_t synced = 0;
  for (auto& run : runs) synced += run.get();
  EXPECT_GT(synced, 1000);
}

}  // namespace
}  // namespace nestor::server
