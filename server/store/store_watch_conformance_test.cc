#include <gmock/gmock.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "api/support/errors.h"
#include "server/store/store_conformance.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Collects events and waits for them.
class Recorder {
 public:
  WatchCallback Callback() {
    return [this](const std::vector<StoreEvent>& events) {
      std::lock_guard lock(mutex_);
      events_.insert(events_.end(), events.begin(), events.end());
      changed_.notify_all();
    };
  }

  std::vector<StoreEvent> Events() const {
    std::lock_guard lock(mutex_);
    return events_;
  }

  std::vector<StoreEvent> WaitFor(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return events_.size() >= count; });
    return events_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<StoreEvent> events_;
};

MATCHER_P3(IsPut, revision, key, value, "") {
  return arg.revision == revision && arg.key == key && arg.value == std::string(value);
}

MATCHER_P2(IsDeletion, revision, key, "") {
  return arg.revision == revision && arg.key == key && !arg.value.has_value();
}

TEST_P(StoreConformance, WatcherSeesEveryChangeInOrderOfRevision) {
  Recorder recorder;
  const auto handle = store().Watch(0, recorder.Callback());
  ASSERT_TRUE(handle.ok()) << handle.status();
  MustPut("a", "1");
  MustCommit({{}, {{"b", "2"}}, {"a", "absent"}});
  MustCommit({{}, {}, {"absent"}});
  MustPut("a", "");
  EXPECT_THAT(recorder.Events(), ElementsAre(IsPut(1, "a", "1"), IsPut(2, "b", "2"),
                                             IsDeletion(2, "a"), IsPut(3, "a", "")));
}

TEST_P(StoreConformance, WatcherHasSeenACommitBeforeItsCallbackRuns) {
  Recorder recorder;
  const auto handle = store().Watch(0, recorder.Callback());
  std::promise<std::vector<StoreEvent>> seen;
  store().Commit({{}, {{"a", "1"}}, {}}, [&](auto) { seen.set_value(recorder.Events()); });
  EXPECT_THAT(seen.get_future().get(), ElementsAre(IsPut(1, "a", "1")));
}

TEST_P(StoreConformance, AbortedCommitIsNoEvent) {
  Recorder recorder;
  const auto handle = store().Watch(0, recorder.Callback());
  EXPECT_FALSE(CommitAndWait(store(), {{Compare::Unchanged("a", 5)}, {{"a", "1"}}, {}}).ok());
  EXPECT_THAT(recorder.Events(), IsEmpty());
}

TEST_P(StoreConformance, WatchResumesAfterItsRevisionWithHistoryFirst) {
  for (const char* value : {"1", "2", "3"}) MustPut("a", value);
  Recorder recorder;
  const auto handle = store().Watch(1, recorder.Callback());
  EXPECT_THAT(recorder.WaitFor(2), ElementsAre(IsPut(2, "a", "2"), IsPut(3, "a", "3")));
  MustPut("a", "4");
  EXPECT_THAT(recorder.Events(), SizeIs(3));
}

TEST_P(StoreConformance, LongHistoryComesInWholeCommits) {
  for (int commit = 1; commit <= 30; ++commit) {
    Transaction transaction;
    for (int i = 0; i < 100; ++i) transaction.puts.emplace_back(std::to_string(i), "");
    MustCommit(std::move(transaction));
  }
  int64_t last_seen = 0;
  std::promise<void> complete;
  const auto handle = store().Watch(0, [&](const std::vector<StoreEvent>& events) {
    EXPECT_EQ(events.size() % 100, 0u);
    EXPECT_EQ(events.front().revision, last_seen + 1);
    last_seen = events.back().revision;
    if (last_seen == 30) complete.set_value();
  });
  complete.get_future().wait();
}

TEST_P(StoreConformance, WatchFromBeforeTheHistoryIsOutOfRange) {
  UseLimits({.max_history_events = 4});
  for (int i = 0; i < 10; ++i) MustPut("a", std::to_string(i));
  Recorder recorder;
  const auto compacted = store().Watch(2, recorder.Callback());
  EXPECT_EQ(compacted.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ErrorReason(compacted.status()), "REVISION_COMPACTED");
  const auto kept = store().Watch(8, recorder.Callback());
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_THAT(recorder.WaitFor(2), ElementsAre(IsPut(9, "a", "8"), IsPut(10, "a", "9")));
}

TEST_P(StoreConformance, DestroyedHandleHearsNoMore) {
  Recorder recorder;
  auto handle = store().Watch(0, recorder.Callback());
  MustPut("a", "1");
  handle->reset();
  MustPut("a", "2");
  EXPECT_THAT(recorder.Events(), ElementsAre(IsPut(1, "a", "1")));
}

TEST_P(StoreConformance, DestroyingAHandleWaitsForItsRunningCallback) {
  std::promise<void> entered;
  std::promise<void> release;
  std::atomic<bool> left = false;
  auto handle = store().Watch(0, [&](const std::vector<StoreEvent>&) {
    entered.set_value();
    release.get_future().wait();
    left = true;
  });
  store().Commit({{}, {{"a", ""}}, {}}, [](auto) {});
  entered.get_future().wait();
  std::thread destroyer([&] {
    handle->reset();
    EXPECT_TRUE(left);
  });
  release.set_value();
  destroyer.join();
}

TEST_P(StoreConformance, CallbackMayDestroyItsOwnHandle) {
  std::unique_ptr<WatchHandle> handle;
  int calls = 0;
  handle = *store().Watch(0, [&](const std::vector<StoreEvent>&) {
    ++calls;
    handle.reset();
  });
  MustPut("a", "1");
  MustPut("a", "2");
  EXPECT_EQ(calls, 1);
}

TEST_P(StoreConformance, WatchersFromManyThreadsSeeTheSameHistory) {
  constexpr int kCommits = 200;
  constexpr int kWatchers = 8;
  std::vector<Recorder> recorders(kWatchers);
  std::vector<std::unique_ptr<WatchHandle>> handles(kWatchers);
  std::vector<std::thread> threads;
  threads.reserve(kWatchers);
  for (int i = 0; i < kWatchers; ++i) {
    threads.emplace_back([&, i] { handles[i] = *store().Watch(0, recorders[i].Callback()); });
  }
  for (int i = 1; i <= kCommits; ++i) MustPut("k", std::to_string(i));
  for (std::thread& thread : threads) thread.join();
  for (Recorder& recorder : recorders) {
    const std::vector<StoreEvent> events = recorder.WaitFor(kCommits);
    ASSERT_THAT(events, SizeIs(kCommits));
    for (int i = 0; i < kCommits; ++i) {
      EXPECT_THAT(events[i], IsPut(i + 1, "k", std::to_string(i + 1)));
    }
  }
}

}  // namespace
}  // namespace nestor::server
