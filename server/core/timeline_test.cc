#include "server/core/timeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/core/host_claim.h"
#include "server/core/keys.h"
#include "server/core/observed_rows.h"
#include "server/core/test_view.h"

namespace nestor::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::SizeIs;

absl::Time At(int64_t second) { return absl::FromUnixSeconds(second); }

// A binding that was created at second 100, and what its agent and its host do.
class TimelineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    state_.AddConnectedHost();
    ASSERT_TRUE(state_.CreateMachine(WantedMachine()).ok());
    ASSERT_TRUE(state_.CreateBinding(WantedBinding(name_, 7)).ok());
  }

  void Answer(int64_t second, v1::Result::Outcome outcome, const std::string& reason = "",
              int64_t generation = 1) {
    v1::Result result;
    result.set_uid(state_.view().FindPasidBinding(name_)->row.metadata().uid());
    result.set_generation(generation);
    result.set_outcome(outcome);
    if (outcome == v1::Result::OUTCOME_PROGRAMMED) result.set_programmed_generation(generation);
    if (!reason.empty()) result.mutable_failure()->set_reason(reason);
    if (!reason.empty()) result.mutable_failure()->set_message("the agent says why");
    HostEffects effects;
    effects.observed_bindings.push_back(result);
    ObservedRows rows(kHostId, v1::Inventory());
    rows.Add(state_.view(), effects, {At(second), epoch_});
    Commit(rows.Take());
  }
  void Hello(int64_t second, const std::string& boot_id) {
    v1::Hello hello;
    hello.set_host(absl::StrCat("hosts/", kHostId));
    hello.set_boot_id(boot_id);
    const HostClaim claim = ClaimHost(state_.view(), At(second), hello, "session", "uid");
    epoch_ = claim.epoch;
    Commit(claim.transaction);
  }
  void Commit(const Transaction& transaction) { ASSERT_TRUE(state_.Commit(transaction).ok()); }

  // "PROGRAMMED@105 e1 +5s"
  std::vector<std::string> Events() {
    std::vector<std::string> events;
    const auto timeline = Timeline(state_.view(), name_);
    for (const auto& event : timeline.events()) {
      std::string text = absl::StrCat(v1::TimelineEvent::Kind_Name(event.kind()).substr(5), "@",
                                      event.time().seconds());
      if (event.epoch() != 0) absl::StrAppend(&text, " e", event.epoch());
      if (event.has_latency()) absl::StrAppend(&text, " +", event.latency().seconds(), "s");
      if (event.count() > 1) {
        absl::StrAppend(&text, " x", event.count(), " until ", event.last_time().seconds());
      }
      events.push_back(text);
    }
    return events;
  }
  std::string LastMessage() {
    const auto timeline = Timeline(state_.view(), name_);
    return timeline.events(timeline.events_size() - 1).message();
  }

  const std::string name_ = BindingName("b");
  int64_t epoch_ = 1;
  TestView state_;
};

TEST_F(TimelineTest, BeginsWithTheCreation) {
  EXPECT_THAT(Events(), ElementsAre("PERSISTED@100"));
  EXPECT_EQ(LastMessage(), "generation 1 was stored");
}

TEST_F(TimelineTest, TellsEachAnswerOnceWithItsSessionAndHowLongItTook) {
  Answer(102, v1::Result::OUTCOME_FAILED, "PASID_TAKEN_ON_HOST");
  EXPECT_THAT(LastMessage(), AllOf(HasSubstr("could not be bound (PASID_TAKEN_ON_HOST)"),
                                   EndsWith("the agent says why")));
  Answer(104, v1::Result::OUTCOME_FAILED, "PASID_TAKEN_ON_HOST");
  Answer(108, v1::Result::OUTCOME_FAILED, "PASID_TAKEN_ON_HOST");
  Answer(109, v1::Result::OUTCOME_ACCEPTED);
  Answer(110, v1::Result::OUTCOME_PROGRAMMED);
  EXPECT_THAT(Events(),
              ElementsAre("PERSISTED@100", "FAILED@102 e1 x3 until 108", "PROGRAMMED@110 e1 +10s"));
}

TEST_F(TimelineTest, TellsWhatTheHostWentThrough) {
  Hello(101, "boot 1");
  Answer(102, v1::Result::OUTCOME_PROGRAMMED);
  Commit(MarkHostUnknown(state_.view(), At(150), kHostId));
  EXPECT_THAT(LastMessage(), HasSubstr("fell silent"));
  Hello(160, "boot 1");
  Hello(170, "boot 2");
  EXPECT_THAT(LastMessage(), HasSubstr("started anew"));
  EXPECT_THAT(Events(),
              ElementsAre("PERSISTED@100", "HOST_CONNECTED@101 e1", "PROGRAMMED@102 e1 +2s",
                          "HOST_SILENT@150 e1", "NOT_PROGRAMMED@160 e2", "HOST_CONNECTED@160 e2",
                          "HOST_REBOOTED@170 e3"));
}

TEST_F(TimelineTest, LeavesOutWhatWasBeforeTheBinding) {
  Hello(50, "boot 1");
  EXPECT_THAT(Events(), ElementsAre("PERSISTED@100"));
}

TEST_F(TimelineTest, KeepsAGenerationThatWasOvertaken) {
  Answer(105, v1::Result::OUTCOME_PROGRAMMED);
  storage::v1::PasidBindingRow row = state_.view().FindPasidBinding(name_)->row;
  row.mutable_metadata()->set_generation(2);
  row.mutable_metadata()->mutable_update_time()->set_seconds(120);
  state_.Put(keys::PasidBinding(*PasidBindingName::Parse(name_)), row);
  Answer(121, v1::Result::OUTCOME_PROGRAMMED, "", 2);
  EXPECT_THAT(Events(), ElementsAre("PERSISTED@100", "PROGRAMMED@105 e1 +5s", "PERSISTED@120",
                                    "PROGRAMMED@121 e1 +1s"));
}

TEST_F(TimelineTest, KeepsTheNewestFifty) {
  for (int i = 0; i < 100; ++i) {
    Answer(200 + 2 * i, v1::Result::OUTCOME_FAILED, "KERNEL_BUSY");
    Answer(201 + 2 * i, v1::Result::OUTCOME_PROGRAMMED);
  }
  const std::vector<std::string> events = Events();
  EXPECT_THAT(events, SizeIs(kMostTimelineEvents));
  EXPECT_EQ(events.back(), "PROGRAMMED@399 e1 +299s");
  EXPECT_THAT(state_.view().FindPasidBinding(name_)->events, SizeIs(kMostTimelineEvents));
}

}  // namespace
}  // namespace nestor::server
