#include "server/core/host_decision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

v1::Fence TestFence() {
  v1::Fence fence;
  fence.set_incarnation("store-1");
  fence.set_epoch(3);
  fence.set_head_revision(10);
  return fence;
}

v1::DesiredVirtualMachine Machine(const std::string& uid, int64_t generation = 1) {
  v1::DesiredVirtualMachine machine;
  machine.set_uid(uid);
  machine.set_generation(generation);
  return machine;
}

v1::DesiredBinding Binding(const std::string& uid, int64_t generation = 1, bool absent = false) {
  v1::DesiredBinding binding;
  binding.set_uid(uid);
  binding.set_generation(generation);
  binding.set_absent(absent);
  return binding;
}

v1::Result Held(const std::string& uid, int64_t generation,
                v1::Result::Outcome outcome = v1::Result::OUTCOME_PROGRAMMED) {
  v1::Result result;
  result.set_uid(uid);
  result.set_generation(generation);
  result.set_outcome(outcome);
  result.set_device("0000:01:00.0");
  result.set_pasid(7);
  return result;
}

v1::Results Answers(std::vector<v1::Result> bindings) {
  v1::Results results;
  for (auto& binding : bindings) *results.add_bindings() = std::move(binding);
  return results;
}

std::vector<std::string> SentBindings(const HostEffects& effects) {
  std::vector<std::string> uids;
  for (const auto& message : effects.send) {
    for (const auto& binding : message.desired().bindings()) uids.push_back(binding.uid());
  }
  return uids;
}

HostIntent Bindings(int count) {
  HostIntent intent;
  for (int i = 0; i < count; ++i) intent.bindings.push_back(Binding(absl::StrCat("b", 1000 + i)));
  return intent;
}

TEST(HostDecision, EmptyHostGetsTheWholeIntentMachinesFirst) {
  HostDecision decision(TestFence());
  std::vector<v1::Orphan> orphans;
  HostIntent intent{{Machine("vm")}, {Binding("a"), Binding("b")}};
  const HostEffects effects = decision.Connect(v1::Hello(), intent, &orphans);
  ASSERT_THAT(effects.send, SizeIs(1));
  const v1::Desired& desired = effects.send[0].desired();
  EXPECT_EQ(desired.delivery_seq(), 1);
  EXPECT_EQ(desired.fence().epoch(), 3);
  EXPECT_EQ(desired.virtual_machines(0).uid(), "vm");
  EXPECT_THAT(SentBindings(effects), ElementsAre("a", "b"));
}

TEST(HostDecision, HeldGenerationsAreRecordedAndNotSentAgain) {
  HostDecision decision(TestFence());
  v1::Hello hello;
  *hello.add_held_bindings() = Held("same", 2);
  *hello.add_held_bindings() = Held("older", 1);
  std::vector<v1::Orphan> orphans;
  const HostEffects effects =
      decision.Connect(hello, HostIntent{{}, {Binding("same", 2), Binding("older", 2)}}, &orphans);
  EXPECT_THAT(SentBindings(effects), ElementsAre("older"));
  EXPECT_THAT(effects.observed_bindings, SizeIs(2));
  EXPECT_THAT(orphans, IsEmpty());
}

TEST(HostDecision, HeldWithoutIntentIsAnOrphanAndIsKept) {
  HostDecision decision(TestFence());
  v1::Hello hello;
  *hello.add_held_bindings() = Held("stray", 1);
  std::vector<v1::Orphan> orphans;
  const HostEffects effects = decision.Connect(hello, HostIntent{}, &orphans);
  EXPECT_THAT(effects.send, IsEmpty());
  EXPECT_THAT(effects.observed_bindings, IsEmpty());
  ASSERT_THAT(orphans, SizeIs(1));
  EXPECT_EQ(orphans[0].pasid(), 7u);
}

TEST(HostDecision, DeletionThatTheAgentMissedIsSentOnConnect) {
  HostDecision decision(TestFence());
  v1::Hello hello;
  *hello.add_held_bindings() = Held("gone", 1);
  std::vector<v1::Orphan> orphans;
  const HostEffects effects =
      decision.Connect(hello, HostIntent{{}, {Binding("gone", 1, true)}}, &orphans);
  EXPECT_THAT(SentBindings(effects), ElementsAre("gone"));
}

TEST(HostDecision, WindowIsNeverExceededAndRefillsOnAnswers) {
  HostDecision decision(TestFence());
  std::vector<v1::Orphan> orphans;
  HostEffects effects = decision.Connect(v1::Hello(), Bindings(100), &orphans);
  EXPECT_THAT(SentBindings(effects), SizeIs(HostDecision::kWindow));
  EXPECT_EQ(decision.dirty(), 100 - HostDecision::kWindow);
  auto next =
      decision.Answer(Answers({Held("b1000", 1), Held("b1001", 1, v1::Result::OUTCOME_FAILED)}));
  ASSERT_TRUE(next.ok());
  EXPECT_THAT(SentBindings(*next), ElementsAre("b1064", "b1065"));
  EXPECT_EQ(decision.in_flight(), HostDecision::kWindow);
}

TEST(HostDecision, ChangesWhileOnTheWayCoalesceToTheNewest) {
  HostDecision decision(TestFence());
  std::vector<v1::Orphan> orphans;
  decision.Connect(v1::Hello(), HostIntent{{}, {Binding("b", 1)}}, &orphans);
  for (int generation = 2; generation <= 1000; ++generation) {
    EXPECT_THAT(decision.Change(HostIntent{{}, {Binding("b", generation)}}, 10 + generation).send,
                IsEmpty());
  }
  EXPECT_EQ(decision.dirty(), 1u);
  auto next = decision.Answer(Answers({Held("b", 1, v1::Result::OUTCOME_ACCEPTED)}));
  ASSERT_TRUE(next.ok());
  ASSERT_THAT(next->send, SizeIs(1));
  EXPECT_EQ(next->send[0].desired().bindings(0).generation(), 1000);
  EXPECT_EQ(next->send[0].desired().fence().head_revision(), 1010);
}

TEST(HostDecision, ChangeAlreadyAnsweredIsNotSent) {
  HostDecision decision(TestFence());
  std::vector<v1::Orphan> orphans;
  decision.Connect(v1::Hello(), HostIntent{{}, {Binding("b", 1)}}, &orphans);
  ASSERT_TRUE(decision.Answer(Answers({Held("b", 1)})).ok());
  EXPECT_THAT(decision.Change(HostIntent{{}, {Binding("b", 1)}}, 11).send, IsEmpty());
}

TEST(HostDecision, ChangeOnItsWayIsNotSentTwice) {
  HostDecision decision(TestFence());
  std::vector<v1::Orphan> orphans;
  decision.Connect(v1::Hello(), HostIntent{{}, {Binding("b", 1)}}, &orphans);
  decision.Change(HostIntent{{}, {Binding("b", 1)}}, 11);
  auto effects = decision.Answer(Answers({Held("b", 1)}));
  ASSERT_TRUE(effects.ok());
  EXPECT_THAT(effects->send, IsEmpty());
}

TEST(HostDecision, AbsentAnswerAsksForPurge) {
  HostDecision decision(TestFence());
  std::vector<v1::Orphan> orphans;
  decision.Connect(v1::Hello(), HostIntent{{}, {Binding("b", 2, true)}}, &orphans);
  auto effects = decision.Answer(Answers({Held("b", 2, v1::Result::OUTCOME_ABSENT)}));
  ASSERT_TRUE(effects.ok());
  EXPECT_THAT(effects->absent_bindings, ElementsAre("b"));
  EXPECT_THAT(effects->observed_bindings, IsEmpty());
}

TEST(HostDecision, SupersededFreesTheWindowAndRecordsNothing) {
  HostDecision decision(TestFence());
  std::vector<v1::Orphan> orphans;
  decision.Connect(v1::Hello(), HostIntent{{}, {Binding("b", 1)}}, &orphans);
  auto effects = decision.Answer(Answers({Held("b", 1, v1::Result::OUTCOME_SUPERSEDED)}));
  ASSERT_TRUE(effects.ok());
  EXPECT_THAT(effects->observed_bindings, IsEmpty());
  EXPECT_EQ(decision.in_flight(), 0u);
}

TEST(HostDecision, ImpossibleAnswersAreRefusedWhole) {
  HostDecision decision(TestFence());
  std::vector<v1::Orphan> orphans;
  decision.Connect(v1::Hello(), HostIntent{{}, {Binding("b")}}, &orphans);
  v1::Results ahead = Answers({Held("b", 1)});
  ahead.set_acked_seq(2);
  EXPECT_EQ(ErrorReason(decision.Answer(ahead).status()), "PROTOCOL_ERROR");
  const v1::Results nameless = Answers({Held("b", 1), Held("", 1)});
  EXPECT_EQ(ErrorReason(decision.Answer(nameless).status()), "PROTOCOL_ERROR");
  const v1::Results vague = Answers({Held("b", 1, v1::Result::OUTCOME_UNSPECIFIED)});
  EXPECT_EQ(ErrorReason(decision.Answer(vague).status()), "PROTOCOL_ERROR");
  EXPECT_EQ(decision.in_flight(), 1u);
}

TEST(HostDecision, RepeatedAndReorderedAnswersAreIdempotent) {
  HostDecision decision(TestFence());
  std::vector<v1::Orphan> orphans;
  decision.Connect(v1::Hello(), HostIntent{{}, {Binding("b", 5)}}, &orphans);
  ASSERT_TRUE(decision.Answer(Answers({Held("b", 4)})).ok());
  EXPECT_EQ(decision.in_flight(), 1u);
  ASSERT_TRUE(decision.Answer(Answers({Held("b", 5), Held("b", 5)})).ok());
  EXPECT_EQ(decision.in_flight(), 0u);
  EXPECT_EQ(decision.dirty(), 0u);
}

}  // namespace
}  // namespace nestor::server
