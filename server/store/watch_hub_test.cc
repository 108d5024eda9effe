#include "server/store/watch_hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "api/support/errors.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);

std::vector<StoreEvent> EventsOf(int64_t revision, int count = 1) {
  std::vector<StoreEvent> events;
  events.reserve(count);
  for (int i = 0; i < count; ++i) events.push_back({revision, std::to_string(i), ""});
  return events;
}

// Notes the revision of each event.
WatchCallback NoteIn(std::vector<int64_t>& revisions) {
  return [&revisions](const std::vector<StoreEvent>& events) {
    for (const StoreEvent& event : events) revisions.push_back(event.revision);
  };
}

TEST(WatchHub, EventsOlderThanTheNewestByMoreThanTheLimitAreForgotten) {
  WatchHub hub({.max_age = absl::Minutes(10)}, 0);
  hub.Append(1, EventsOf(1), kStart);
  hub.Append(2, EventsOf(2), kStart + absl::Minutes(5));
  hub.Append(3, EventsOf(3), kStart + absl::Minutes(10));
  hub.Deliver();
  EXPECT_TRUE(hub.Watch(0, [](const auto&) {}).ok());
  hub.Append(4, EventsOf(4), kStart + absl::Minutes(10) + absl::Seconds(1));
  hub.Deliver();
  EXPECT_EQ(ErrorReason(hub.Watch(0, [](const auto&) {}).status()), "REVISION_COMPACTED");
  EXPECT_TRUE(hub.Watch(1, [](const auto&) {}).ok());
}

TEST(WatchHub, CommitLargerThanTheHistoryIsStillDeliveredAndKept) {
  WatchHub hub({.max_events = 3}, 0);
  std::vector<int64_t> seen;
  const auto handle = hub.Watch(0, NoteIn(seen));
  for (int64_t revision = 1; revision <= 5; ++revision) {
    hub.Append(revision, EventsOf(revision, 2), kStart);
  }
  hub.Append(6, EventsOf(6, 4), kStart);
  hub.Deliver();
  EXPECT_THAT(seen, ElementsAre(1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 6, 6));
  EXPECT_FALSE(hub.Watch(4, [](const auto&) {}).ok());
  EXPECT_TRUE(hub.Watch(5, [](const auto&) {}).ok());
}

TEST(WatchHub, LargeCommitBetweenSmallOnesComesOnceAndInOrder) {
  WatchHub hub({}, 0);
  std::vector<int64_t> seen;
  const auto handle = hub.Watch(0, NoteIn(seen));
  hub.Append(1, EventsOf(1), kStart);
  hub.Append(2, EventsOf(2), kStart);
  hub.Append(3, EventsOf(3, 2000), kStart);
  hub.Append(4, EventsOf(4, 2000), kStart);
  hub.Append(5, EventsOf(5), kStart);
  hub.Deliver();
  ASSERT_EQ(seen.size(), 4003u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 3), 2000);
  EXPECT_EQ(seen.back(), 5);
}

TEST(WatchHub, WatchBegunWhileEventsAreDeliveredMissesNone) {
  WatchHub hub({.max_events = 1}, 0);
  std::vector<int64_t> late;
  std::unique_ptr<WatchHandle> late_handle;
  const auto first = hub.Watch(0, [&](const auto&) {
    if (late_handle == nullptr) late_handle = *hub.Watch(0, NoteIn(late));
  });
  for (int64_t revision = 1; revision <= 3; ++revision) {
    hub.Append(revision, EventsOf(revision), kStart);
  }
  hub.Deliver();
  hub.Deliver();
  EXPECT_THAT(late, ElementsAre(1, 2, 3));
}

TEST(WatchHub, RestartedStoreHasNoHistory) {
  WatchHub hub({}, 7);
  EXPECT_EQ(hub.Watch(6, [](const auto&) {}).status().code(), absl::StatusCode::kOutOfRange);
  std::vector<int64_t> seen;
  const auto handle = hub.Watch(7, NoteIn(seen));
  hub.Append(8, EventsOf(8), kStart);
  hub.Deliver();
  EXPECT_THAT(seen, ElementsAre(8));
}

TEST(WatchHub, WatchFromAFutureRevisionBeginsThere) {
  WatchHub hub({}, 0);
  std::vector<int64_t> seen;
  const auto handle = hub.Watch(2, NoteIn(seen));
  for (int64_t revision = 1; revision <= 3; ++revision) {
    hub.Append(revision, EventsOf(revision), kStart);
  }
  hub.Deliver();
  EXPECT_THAT(seen, ElementsAre(3));
}

TEST(WatchHub, CallbackMayDestroyAnotherHandle) {
  WatchHub hub({}, 0);
  std::vector<int64_t> seen;
  std::unique_ptr<WatchHandle> second;
  const auto first = hub.Watch(0, [&](const auto&) { second.reset(); });
  second = *hub.Watch(0, NoteIn(seen));
  hub.Append(1, EventsOf(1), kStart);
  hub.Deliver();
  EXPECT_THAT(seen, IsEmpty());
}

TEST(WatchHub, HandleMayOutliveTheHub) {
  std::unique_ptr<WatchHandle> handle;
  {
    WatchHub hub({}, 0);
    handle = *hub.Watch(0, [](const auto&) {});
  }
  handle.reset();
}

}  // namespace
}  // namespace nestor::server
