#include "server/core/observation.h"

#include <gtest/gtest.h>

namespace nestor::server {
namespace {

v1::Result Answer(v1::Result::Outcome outcome, int64_t generation, int64_t seconds) {
  v1::Result result;
  result.set_outcome(outcome);
  result.set_generation(generation);
  result.mutable_time()->set_seconds(seconds);
  return result;
}

TEST(ObserveBinding, KeepsTheRungsOfTheSameGeneration) {
  const auto accepted = ObserveBinding(Answer(v1::Result::OUTCOME_ACCEPTED, 3, 10), {});
  const auto programmed = ObserveBinding(Answer(v1::Result::OUTCOME_PROGRAMMED, 3, 12), accepted);
  EXPECT_EQ(programmed.state(), v1::PasidBindingStatus::STATE_PROGRAMMED);
  EXPECT_EQ(programmed.times().accepted().seconds(), 10);
  EXPECT_EQ(programmed.times().programmed().seconds(), 12);
}

TEST(ObserveBinding, ForgetsTheRungsOfAnotherGeneration) {
  const auto before = ObserveBinding(Answer(v1::Result::OUTCOME_PROGRAMMED, 3, 12), {});
  const auto after = ObserveBinding(Answer(v1::Result::OUTCOME_FAILED, 4, 20), before);
  EXPECT_EQ(after.times().accepted().seconds(), 20);
  EXPECT_FALSE(after.times().has_programmed());
  EXPECT_EQ(after.times().failed().seconds(), 20);
}

TEST(ObserveBinding, FailureIsGoneOnceProgrammed) {
  v1::Result failed = Answer(v1::Result::OUTCOME_FAILED, 1, 1);
  failed.mutable_failure()->set_reason("X");
  const auto before = ObserveBinding(failed, {});
  EXPECT_TRUE(before.has_failure());
  EXPECT_FALSE(ObserveBinding(Answer(v1::Result::OUTCOME_PROGRAMMED, 1, 2), before).has_failure());
}

TEST(IsWorthStoring, PlainAcceptedIsNot) {
  v1::Result accepted = Answer(v1::Result::OUTCOME_ACCEPTED, 1, 1);
  EXPECT_FALSE(IsWorthStoring(accepted));
  accepted.mutable_failure()->set_reason("WAITING_FOR_VMM");
  EXPECT_TRUE(IsWorthStoring(accepted));
  EXPECT_TRUE(IsWorthStoring(Answer(v1::Result::OUTCOME_PROGRAMMED, 1, 1)));
}

TEST(ObserveMachine, StateFollowsMonitorAndMemory) {
  v1::VirtualMachineResult result;
  EXPECT_EQ(ObserveMachine(result).state(), v1::VirtualMachineStatus::STATE_PENDING);
  result.set_vm_instance("boot-1");
  EXPECT_EQ(ObserveMachine(result).state(), v1::VirtualMachineStatus::STATE_READY);
  result.mutable_failure()->set_reason("MEMORY_INCOMPLETE");
  EXPECT_EQ(ObserveMachine(result).state(), v1::VirtualMachineStatus::STATE_MEMORY_INCOMPLETE);
}

}  // namespace
}  // namespace nestor::server
