#include "cli/wait_tracker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "cli/watch_event.h"

namespace nestor::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;

constexpr char kMachine[] = "projects/p/virtualMachines/v";

std::string Name(absl::string_view id) { return absl::StrCat(kMachine, "/pasidBindings/", id); }

v1::WatchResponse Put(absl::string_view id, int64_t generation, v1::PasidBindingStatus::State state,
                      int64_t observed) {
  v1::WatchResponse event;
  event.set_type(v1::WatchResponse::TYPE_PUT);
  event.mutable_pasid_binding()->set_name(Name(id));
  event.mutable_pasid_binding()->mutable_metadata()->set_generation(generation);
  event.mutable_pasid_binding()->mutable_status()->set_state(state);
  event.mutable_pasid_binding()->mutable_status()->set_observed_generation(observed);
  return event;
}

v1::WatchResponse Programmed(absl::string_view id, int64_t generation) {
  return Put(id, generation, v1::PasidBindingStatus::STATE_PROGRAMMED, generation);
}

v1::WatchResponse Failed(absl::string_view id, v1::Failure::Kind kind) {
  v1::WatchResponse event = Put(id, 1, v1::PasidBindingStatus::STATE_FAILED, 1);
  event.mutable_pasid_binding()->mutable_status()->mutable_failure()->set_kind(kind);
  event.mutable_pasid_binding()->mutable_status()->mutable_failure()->set_reason("WHY");
  return event;
}

v1::WatchResponse Deleted(absl::string_view id) {
  v1::WatchResponse event;
  event.set_type(v1::WatchResponse::TYPE_DELETED);
  event.mutable_pasid_binding()->set_name(Name(id));
  return event;
}

v1::WatchResponse Synced() {
  v1::WatchResponse event;
  event.set_type(v1::WatchResponse::TYPE_SYNCED);
  return event;
}

TEST(WaitTracker, ProgrammedCountsFromTheWantedGenerationOn) {
  WaitTracker tracker(Goal::kProgrammed);
  tracker.Add(Name("a"), 2);
  tracker.Add(Name("b"));
  tracker.Take(Programmed("a", 1));
  tracker.Take(Programmed("b", 1));
  EXPECT_EQ(tracker.progress(), (Progress{2, 1, 0}));
  tracker.Take(Put("a", 2, v1::PasidBindingStatus::STATE_PROGRAMMED, 1));
  EXPECT_FALSE(tracker.progress().Over());
  tracker.Take(Programmed("a", 2));
  EXPECT_TRUE(tracker.progress().Over());
  EXPECT_THAT(tracker.NotReached(), IsEmpty());
}

TEST(WaitTracker, OnlyAPermanentFailureEndsTheWait) {
  WaitTracker tracker(Goal::kProgrammed);
  tracker.Add(Name("a"));
  tracker.Add(Name("b"));
  tracker.Take(Failed("a", v1::Failure::KIND_TRANSIENT));
  tracker.Take(Failed("b", v1::Failure::KIND_PERMANENT));
  EXPECT_EQ(tracker.progress(), (Progress{2, 0, 1}));
  EXPECT_THAT(tracker.NotReached(),
              ElementsAre(Field(&WaitTracker::Unmet::state, "FAILED (WHY)"),
                          Field(&WaitTracker::Unmet::state, "FAILED (WHY, retried)")));
}

TEST(WaitTracker, WhatIsNotInTheSnapshotIsMissing) {
  WaitTracker tracker(Goal::kProgrammed);
  tracker.Add(Name("a"));
  tracker.BeginSnapshot();
  tracker.Take(Programmed("other", 1));
  tracker.Take(Synced());
  ASSERT_THAT(tracker.NotReached(), ElementsAre(Field(&WaitTracker::Unmet::missing, true)));
  EXPECT_EQ(tracker.progress(), (Progress{1, 0, 1}));
}

TEST(WaitTracker, AbsentIsReachedByDeletionOrBySnapshot) {
  WaitTracker tracker(Goal::kAbsent);
  tracker.Add(Name("a"));
  tracker.Add(Name("b"));
  tracker.Take(Put("a", 1, v1::PasidBindingStatus::STATE_DELETING, 1));
  tracker.Take(Synced());
  EXPECT_EQ(tracker.progress(), (Progress{2, 1, 0}));
  tracker.Take(Deleted("a"));
  EXPECT_TRUE(tracker.progress().Over());
}

TEST(WaitTracker, ABrokenWatchForgetsNothingButWhatIsGone) {
  WaitTracker tracker(Goal::kAbsent);
  tracker.Add(Name("a"));
  tracker.Take(Put("a", 1, v1::PasidBindingStatus::STATE_DELETING, 1));
  tracker.Take(Synced());
  EXPECT_EQ(tracker.progress().done, 0);
  tracker.BeginSnapshot();
  tracker.Take(Synced());
  EXPECT_EQ(tracker.progress().done, 1);
}

TEST(WaitTracker, WatchesNoMoreThanItNeeds) {
  WaitTracker tracker(Goal::kAbsent);
  EXPECT_EQ(tracker.WatchParent(), "");
  tracker.Add(Name("a"));
  EXPECT_EQ(tracker.WatchParent(), kMachine);
  tracker.Add(kMachine);
  EXPECT_EQ(tracker.WatchParent(), kMachine);
  tracker.Add("projects/p/virtualMachines/v2");
  EXPECT_EQ(tracker.WatchParent(), "projects/p");
  tracker.Add("projects/p2/virtualMachines/v");
  EXPECT_EQ(tracker.WatchParent(), "");
}

TEST(WatchEvent, LineTellsSnapshotChangeAndDeletionApart) {
  const absl::Time now = absl::UnixEpoch() + absl::Milliseconds(1234);
  const auto event = Programmed("a", 1);
  EXPECT_EQ(EventLine(event, true, now),
            "00:00:01.234  present  binding          p/v/a                            PROGRAMMED");
  EXPECT_THAT(EventLine(event, false, now), ::testing::HasSubstr("changed  binding"));
  EXPECT_THAT(EventLine(Deleted("a"), false, now), ::testing::HasSubstr("gone     binding"));
}

}  // namespace
}  // namespace nestor::cli
