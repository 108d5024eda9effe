#include "server/store/store_conformance.h"

#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "api/support/errors.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_P(StoreConformance, EmptyStoreStandsAtRevisionZero) {
  EXPECT_EQ(store().HeadRevision(), 0);
  EXPECT_THAT(MustRange(), IsEmpty());
}

TEST_P(StoreConformance, EachCommitGetsTheNextRevision) {
  EXPECT_EQ(MustPut("a", "1"), 1);
  EXPECT_EQ(MustPut("b", "2"), 2);
  EXPECT_EQ(store().HeadRevision(), 2);
  EXPECT_EQ(MustCommit({{}, {{"c", "3"}, {"a", "4"}}, {"b"}}), 3);
  EXPECT_THAT(MustRange(), ElementsAre(KeyValue{"a", "4", 3}, KeyValue{"c", "3", 3}));
}

TEST_P(StoreConformance, CommitThatChangesNothingAnswersTheHead) {
  MustPut("a", "1");
  EXPECT_EQ(MustCommit({}), 1);
  EXPECT_EQ(MustCommit({{Compare::Unchanged("a", 1)}, {}, {}}), 1);
  EXPECT_EQ(MustCommit({{}, {}, {"absent"}}), 1);
  EXPECT_EQ(store().HeadRevision(), 1);
}

TEST_P(StoreConformance, FailedCompareAbortsWithNothingWritten) {
  MustPut("a", "1");
  const Transaction stale{{Compare::Unchanged("a", 1), Compare::Absent("a")}, {{"b", "2"}}, {"a"}};
  EXPECT_EQ(CommitAndWait(store(), stale).status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(MustRange(), ElementsAre(KeyValue{"a", "1", 1}));
  EXPECT_EQ(store().HeadRevision(), 1);
}

TEST_P(StoreConformance, UnchangedComparesTheRevisionThatLastWroteTheKey) {
  MustPut("a", "1");
  MustPut("a", "1");
  const auto with = [](Compare compare) { return Transaction{{std::move(compare)}, {}, {}}; };
  EXPECT_TRUE(CommitAndWait(store(), with(Compare::Unchanged("a", 2))).ok());
  EXPECT_FALSE(CommitAndWait(store(), with(Compare::Unchanged("a", 1))).ok());
  EXPECT_FALSE(CommitAndWait(store(), with(Compare::Unchanged("a", 3))).ok());
  EXPECT_TRUE(CommitAndWait(store(), with(Compare::Absent("b"))).ok());
  EXPECT_FALSE(CommitAndWait(store(), with(Compare::Unchanged("b", 2))).ok());
}

TEST_P(StoreConformance, DeletedKeyIsAbsentAndItsNextLifeHasANewRevision) {
  MustPut("a", "1");
  MustCommit({{}, {}, {"a"}});
  EXPECT_EQ(MustCommit({{Compare::Absent("a")}, {{"a", "2"}}, {}}), 3);
  EXPECT_THAT(MustRange(), ElementsAre(KeyValue{"a", "2", 3}));
}

TEST_P(StoreConformance, RangeUnchangedSeesNewerKeysInsideTheRangeOnly) {
  MustPut("b", "1");
  MustPut("d", "2");
  const auto range = [](std::string begin, std::string end, int64_t revision) {
    return Transaction{
        {Compare::RangeUnchanged(std::move(begin), std::move(end), revision)}, {}, {}};
  };
  EXPECT_TRUE(CommitAndWait(store(), range("a", "d", 1)).ok());
  EXPECT_TRUE(CommitAndWait(store(), range("c", "d", 0)).ok());
  EXPECT_TRUE(CommitAndWait(store(), range("a", "", 2)).ok());
  for (const auto& stale : {range("a", "c", 0), range("a", "e", 1), range("d", "", 1)}) {
    EXPECT_EQ(CommitAndWait(store(), stale).status().code(), absl::StatusCode::kAborted);
  }
}

TEST_P(StoreConformance, TwoWritersFromOneStaleViewOneIsAborted) {
  const int64_t view = MustPut("counter", "0");
  std::promise<absl::StatusOr<int64_t>> first;
  std::promise<absl::StatusOr<int64_t>> second;
  const Compare unchanged = Compare::Unchanged("counter", view);
  store().Commit({{unchanged}, {{"counter", "first"}}, {}},
                 [&](auto answer) { first.set_value(answer); });
  store().Commit({{unchanged}, {{"counter", "second"}}, {}},
                 [&](auto answer) { second.set_value(answer); });
  EXPECT_TRUE(first.get_future().get().ok());
  EXPECT_EQ(second.get_future().get().status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(MustRange(), ElementsAre(KeyValue{"counter", "first", 2}));
}

TEST_P(StoreConformance, TwoInsertsIntoOneRangeFromOneStaleViewOneIsAborted) {
  const auto insert = [](std::string key) {
    return Transaction{{Compare::RangeUnchanged("r/", PrefixEnd("r/"), 0)}, {{key, ""}}, {}};
  };
  std::promise<absl::StatusOr<int64_t>> first;
  std::promise<absl::StatusOr<int64_t>> second;
  store().Commit(insert("r/1"), [&](auto answer) { first.set_value(answer); });
  store().Commit(insert("r/2"), [&](auto answer) { second.set_value(answer); });
  EXPECT_TRUE(first.get_future().get().ok());
  EXPECT_EQ(second.get_future().get().status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(MustRangeKeys(), ElementsAre("r/1"));
}

TEST_P(StoreConformance, ComparesSeeWhatWasQueuedBeforeThem) {
  MustPut("r/1", "");
  std::promise<void> blocked;
  std::promise<void> release;
  store().Commit({}, [&](auto) {
    blocked.set_value();
    release.get_future().wait();
  });
  blocked.get_future().wait();  // what follows can share a group
  const auto range_unchanged = Compare::RangeUnchanged("r/", PrefixEnd("r/"), 0);
  std::vector<Transaction> transactions = {
      {{range_unchanged}, {{"sees the key", ""}}, {}},
      {{Compare::Unchanged("r/1", 1)}, {}, {"r/1"}},
      {{range_unchanged, Compare::Absent("r/1")}, {{"sees the deletion", ""}}, {}},
      {{}, {{"r/2", ""}}, {}},
      {{range_unchanged}, {{"sees the other key", ""}}, {}},
      {{Compare::Unchanged("r/2", 4)}, {{"r/2", "again"}}, {}},
  };
  std::vector<std::promise<absl::StatusOr<int64_t>>> answers(transactions.size());
  for (size_t i = 0; i < transactions.size(); ++i) {
    store().Commit(std::move(transactions[i]),
                   [&, i](auto answer) { answers[i].set_value(answer); });
  }
  release.set_value();
  std::vector<int64_t> revisions;
  revisions.reserve(answers.size());
  for (auto& answer : answers) revisions.push_back(answer.get_future().get().value_or(0));
  EXPECT_THAT(revisions, ElementsAre(0, 2, 3, 4, 0, 5));
  EXPECT_THAT(MustRangeKeys(), ElementsAre("r/2", "sees the deletion"));
}

TEST_P(StoreConformance, RangeIsHalfOpenOrderedAndLimited) {
  for (const char* key : {"b", "a", "d", "c"}) MustPut(key, "");
  EXPECT_THAT(MustRangeKeys(), ElementsAre("a", "b", "c", "d"));
  EXPECT_THAT(MustRangeKeys("b", "d"), ElementsAre("b", "c"));
  EXPECT_THAT(MustRangeKeys("b", ""), ElementsAre("b", "c", "d"));
  EXPECT_THAT(MustRangeKeys("", "", 2), ElementsAre("a", "b"));
  EXPECT_THAT(MustRangeKeys("aa", "b"), IsEmpty());
  EXPECT_THAT(MustRangeKeys("d", "b"), IsEmpty());
}

TEST_P(StoreConformance, KeysAndValuesAreBytes) {
  const std::string zero("\0", 1);
  const std::vector<std::string> keys = {zero,   zero + zero, "a" + zero + "b",
                                         "\x7f", "\xff",      "\xff\xff"};
  for (const std::string& key : keys) MustPut(key, "value of " + key);
  EXPECT_EQ(MustRangeKeys(), keys);
  EXPECT_EQ(MustRange("\xff")[0].value, "value of \xff");
  EXPECT_THAT(MustRangeKeys("\xff", PrefixEnd("\xff")), ElementsAre("\xff", "\xff\xff"));
}

TEST_P(StoreConformance, BigValuesAndManyKeysInOneCommitComeBackWhole) {
  const std::string big(size_t{1} << 20, 'x');
  Transaction transaction{{}, {{"big", big}}, {}};
  for (int i = 0; i < 1000; ++i) transaction.puts.emplace_back("k" + std::to_string(i), "v");
  EXPECT_EQ(MustCommit(std::move(transaction)), 1);
  Reopen();
  EXPECT_EQ(MustRange("big", "big\xff")[0].value, big);
  EXPECT_THAT(MustRange(), SizeIs(1001));
}

TEST_P(StoreConformance, ReopenedStoreHasSameRowsRevisionAndIncarnation) {
  MustPut("a", "1");
  MustCommit({{}, {{"b", "2"}}, {}, Durability::kRelaxed});
  MustCommit({{}, {}, {"a"}});
  const std::string incarnation = store().Incarnation();
  EXPECT_THAT(incarnation, SizeIs(36));
  Reopen();
  EXPECT_EQ(store().HeadRevision(), 3);
  EXPECT_EQ(store().Incarnation(), incarnation);
  EXPECT_THAT(MustRange(), ElementsAre(KeyValue{"b", "2", 2}));
  EXPECT_EQ(MustCommit({{Compare::Unchanged("b", 2)}, {{"b", "3"}}, {}}), 4);
}

TEST_P(StoreConformance, SyncedRevisionIsAtMostTheHeadAndCountsSyncedCommits) {
  EXPECT_EQ(store().SyncedRevision(), 0);
  EXPECT_EQ(MustPut("a", "1"), 1);
  EXPECT_EQ(store().SyncedRevision(), 1);
  MustCommit({{}, {{"a", "2"}}, {}, Durability::kRelaxed});
  EXPECT_GE(store().SyncedRevision(), 1);
  EXPECT_LE(store().SyncedRevision(), store().HeadRevision());
  MustPut("a", "3");
  EXPECT_EQ(store().SyncedRevision(), 3);
}

TEST_P(StoreConformance, AnotherStoreHasAnotherIncarnation) {
  const auto other = GetParam().make({});
  EXPECT_NE(store().Incarnation(), other->store().Incarnation());
}

TEST_P(StoreConformance, FullQueueRefusesOnTheCallingThreadAndKeepsTheRest) {
  UseLimits({.max_queued_transactions = 3});
  std::promise<void> blocked;
  std::promise<void> release;
  store().Commit({}, [&](auto) {
    blocked.set_value();
    release.get_future().wait();
  });
  blocked.get_future().wait();
  // Some may be taken out of the queue meanwhile, even just before the last is sent, but not all
  // that follow. A refusal is there at once: no callback can run on the store's own thread.
  constexpr int kMostSent = 100;
  std::vector<std::future<absl::StatusOr<int64_t>>> answers;
  auto refused = [&] {
    return !answers.empty() &&
           answers.back().wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  };
  auto key = [](size_t i) { return std::to_string(100 + i); };  // in order
  while (answers.size() < kMostSent && !refused()) {
    auto answer = std::make_shared<std::promise<absl::StatusOr<int64_t>>>();
    store().Commit({{}, {{key(answers.size()), ""}}, {}},
                   [answer](auto revision) { answer->set_value(revision); });
    answers.push_back(answer->get_future());
  }
  ASSERT_TRUE(refused());
  release.set_value();
  std::vector<std::string> stored;
  for (size_t i = 0; i < answers.size(); ++i) {
    const absl::Status status = answers[i].get().status();
    if (status.ok()) {
      stored.push_back(key(i));
    } else {
      EXPECT_EQ(ErrorReason(status), "QUEUE_FULL");
    }
  }
  EXPECT_GE(stored.size(), 3u);
  EXPECT_EQ(MustRangeKeys(), stored);
}

TEST_P(StoreConformance, CallbackMayCommitAgain) {
  std::promise<absl::StatusOr<int64_t>> second;
  store().Commit({{}, {{"a", ""}}, {}}, [&](auto) {
    store().Commit({{}, {{"b", ""}}, {}}, [&](auto answer) { second.set_value(answer); });
  });
  EXPECT_EQ(second.get_future().get().value_or(-1), 2);
}

TEST_P(StoreConformance, ManyThreadsCountingByCompareAndSetLoseNoStep) {
  constexpr int kThreads = 8;
  constexpr int kSteps = 50;
  std::atomic<int> aborted = 0;
  const auto count = [&] {
    for (int step = 0; step < kSteps;) {
      const std::vector<KeyValue> rows = MustRange("n", "o");
      const int value = rows.empty() ? 0 : std::stoi(rows[0].value);
      const int64_t revision = rows.empty() ? 0 : rows[0].mod_revision;
      const auto answer = CommitAndWait(
          store(), {{Compare::Unchanged("n", revision)}, {{"n", std::to_string(value + 1)}}, {}});
      answer.ok() ? ++step : ++aborted;
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(count);
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(MustRange(),
              ElementsAre(KeyValue{"n", std::to_string(kThreads * kSteps), kThreads * kSteps}));
}

}  // namespace
}  // namespace nestor::server
