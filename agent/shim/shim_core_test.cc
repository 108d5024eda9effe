// Bindings: from intent to answers.
#include "agent/shim/shim_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "agent/shim/shim_core_fixture.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kBind5[] = "bind 0000:3b:00.0 pasid 5 VTD_S1 root 0x1000 width 48";
constexpr char kReplace5[] = "replace 0000:3b:00.0 pasid 5 VTD_S1 root 0x2000 width 48";

using ShimCoreTest = ShimCoreFixture;

TEST_F(ShimCoreTest, MachineIsAttachedWithoutAMonitor) {
  Tell(Machine(1, {kA, kB}));
  EXPECT_THAT(Run(), ElementsAre("attach 0000:3b:00.0", "attach 0000:3b:00.1"));
  const v1::VirtualMachineResult answer = MachineAnswer();
  EXPECT_EQ(answer.generation(), 1);
  EXPECT_FALSE(answer.has_failure());
  EXPECT_EQ(answer.vm_instance(), "");
}

TEST_F(ShimCoreTest, BindingWaitsForItsMonitorAndMemory) {
  Tell(Machine(1, {kA}));
  Tell({Binding("b", 5, 0x1000)});
  Run();
  EXPECT_THAT(Answers(), ElementsAre("b g1 ACCEPTED: WAITING_FOR_VMM"));
  Connect(kA);
  EXPECT_THAT(Run(), IsEmpty());
  Map(kA, Region(0, 0x7000'0000));
  EXPECT_THAT(Run(),
              ElementsAre("map 0000:3b:00.0 gpa 0x0 size 0x10000", "allocate pasid 5", kBind5));
  EXPECT_THAT(Answers(), ElementsAre("b g1 PROGRAMMED"));
}

TEST_F(ShimCoreTest, BindingOfUnknownMachineWaits) {
  Tell({Binding("b", 5, 0x1000)});
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_THAT(Answers(), ElementsAre("b g1 ACCEPTED: WAITING_FOR_VMM"));
}

TEST_F(ShimCoreTest, MonitorOfAnotherDeviceIsNotEnough) {
  Tell(Machine(1, {kA, kB}));
  Run();
  Connect(kB);
  Map(kB, Region(0, 0x7000'0000));
  Tell({Binding("b", 5, 0x1000)});
  Run();
  EXPECT_THAT(Answers(), ElementsAre("b g1 ACCEPTED: WAITING_FOR_VMM"));
}

TEST_F(ShimCoreTest, ProgrammedAnswerSaysWhatTheKernelHolds) {
  StartMachine();
  Tell({Binding("b", 5, 0x1000)});
  Run();
  EXPECT_THAT(Answers(), ElementsAre("b g1 ACCEPTED", "b g1 PROGRAMMED"));
  EXPECT_EQ(last_.device(), kA);
  EXPECT_EQ(last_.pasid(), 5);
  EXPECT_EQ(last_.programmed_root(), 0x1000);
  EXPECT_EQ(last_.programmed_generation(), 1);
  EXPECT_EQ(last_.vm_instance(), "boot-1");
  EXPECT_EQ(last_.attempts(), 1);
  EXPECT_EQ(last_.time().seconds(), 1'000'000);
  EXPECT_EQ(last_.duration().nanos(), 3'000'000);
  EXPECT_FALSE(last_.has_translation_gap());
}

TEST_F(ShimCoreTest, RepeatedGenerationGetsTheSameAnswerAndNoCall) {
  StartMachine();
  Program(Binding("b", 5, 0x1000));
  const std::string first = last_.SerializeAsString();
  Tell({Binding("b", 5, 0x1000)});
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_THAT(Answers(), ElementsAre("b g1 PROGRAMMED"));
  EXPECT_EQ(last_.SerializeAsString(), first);
}

TEST_F(ShimCoreTest, NothingNewIsSaidWithoutAChange) {
  Tell(Machine(1, {kA}));
  Tell({Binding("b", 5, 0x1000)});
  Run();
  Answers();
  MachineAnswer();
  Tell({Binding("c", 6, 0x1000)});
  Run();
  EXPECT_THAT(Answers(), ElementsAre("c g1 ACCEPTED: WAITING_FOR_VMM"));
  EXPECT_EQ(MachineAnswer().generation(), 0);
}

TEST_F(ShimCoreTest, OvertakenGenerationThatWasNeverTriedIsSuperseded) {
  const v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  Tell(Machine(1, {kA}));
  Tell({binding});
  Answers();
  Tell({NextGeneration(binding, 0x2000)});
  EXPECT_THAT(Answers(), ElementsAre("b g1 SUPERSEDED", "b g2 ACCEPTED: WAITING_FOR_VMM"));
}

TEST_F(ShimCoreTest, LateOlderGenerationIsSuperseded) {
  const v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  StartMachine();
  Program(NextGeneration(binding, 0x2000));
  Tell({binding});
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_THAT(Answers(), ElementsAre("b g1 SUPERSEDED"));
}

TEST_F(ShimCoreTest, GenerationOvertakenDuringItsCallIsAnsweredAndThenReplaced) {
  v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  binding.set_allow_translation_gap(true);
  StartMachine();
  Tell({binding});
  Finish(core_.NextStep(now_).value());  // allocate
  const Step bind = core_.NextStep(now_).value();
  Answers();
  Tell({NextGeneration(binding, 0x2000)});
  Finish(bind);
  EXPECT_THAT(Run(), ElementsAre(kReplace5));
  EXPECT_THAT(Answers(), ElementsAre("b g1 PROGRAMMED", "b g2 ACCEPTED", "b g2 PROGRAMMED"));
}

TEST_F(ShimCoreTest, GenerationThatChangesNothingInTheKernelIsProgrammedWithoutACall) {
  const v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  StartMachine();
  Program(binding);
  Tell({NextGeneration(binding, 0x1000)});
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_THAT(Answers(), ElementsAre("b g2 ACCEPTED", "b g2 PROGRAMMED"));
  EXPECT_EQ(last_.programmed_generation(), 2);
}

TEST_F(ShimCoreTest, AbsentUnbindsFreesAndIsAnswered) {
  const v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  StartMachine();
  Program(binding);
  Tell({Absent(binding)});
  EXPECT_THAT(Run(), ElementsAre("unbind 0000:3b:00.0 pasid 5", "free pasid 5"));
  EXPECT_THAT(Answers(), ElementsAre("b g2 ABSENT"));
  EXPECT_THAT(core_.Inventory(now_).bindings, IsEmpty());
}

TEST_F(ShimCoreTest, AbsentOfSomethingNeverThereIsAnsweredAtOnce) {
  Tell({Absent(Binding("b", 5, 0x1000))});
  EXPECT_THAT(Answers(), ElementsAre("b g2 ABSENT"));
}

TEST_F(ShimCoreTest, AbsentAtTheSameGenerationIsFollowed) {
  v1::DesiredBinding absent = Absent(Binding("b", 5, 0x1000));
  absent.set_generation(1);
  StartMachine();
  Program(Binding("b", 5, 0x1000));
  Tell({absent});
  Run();
  EXPECT_THAT(Answers(), ElementsAre("b g1 ABSENT"));
}

TEST_F(ShimCoreTest, AbsentDuringTheBindUnbindsIt) {
  const v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  StartMachine();
  Tell({binding});
  Finish(core_.NextStep(now_).value());  // allocate
  const Step bind = core_.NextStep(now_).value();
  Tell({Absent(binding)});
  Finish(bind);
  EXPECT_THAT(Run(), ElementsAre("unbind 0000:3b:00.0 pasid 5", "free pasid 5"));
  EXPECT_THAT(Answers(), ElementsAre("b g1 ACCEPTED", "b g2 ABSENT"));
}

TEST_F(ShimCoreTest, AbsentIsNotAnsweredWhileTheKernelHoldsIt) {
  const v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  StartMachine();
  Program(binding);
  // Not even an error that is permanent elsewhere ends the attempts of a release.
  Fail("unbind 0000:3b:00.0 pasid 5", Errno("UNBIND_PGTBL", EINVAL));
  Tell({Absent(binding)});
  EXPECT_THAT(Run(), ElementsAre("unbind 0000:3b:00.0 pasid 5"));
  EXPECT_THAT(Answers(), ElementsAre("b g2 FAILED: KERNEL_REFUSED"));
  Heal();
  EXPECT_THAT(RunRetry(), ElementsAre("unbind 0000:3b:00.0 pasid 5", "free pasid 5"));
  EXPECT_THAT(Answers(), ElementsAre("b g2 ABSENT"));
}

TEST_F(ShimCoreTest, AbsentWaitsForItsPasidToBeFreed) {
  const v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  StartMachine();
  Program(binding);
  Fail("free pasid 5", Errno("PASID_REQUEST(FREE)", EBUSY));
  Tell({Absent(binding)});
  Run();
  EXPECT_THAT(Answers(), ElementsAre("b g2 FAILED: KERNEL_BUSY"));
  Heal();
  EXPECT_THAT(RunRetry(), ElementsAre("free pasid 5"));
  EXPECT_THAT(Answers(), ElementsAre("b g2 ABSENT"));
}

TEST_F(ShimCoreTest, SharedPasidStaysAllocatedUntilTheLastBindingGoes) {
  Tell(Machine(1, {kA, kB}));
  Run();
  for (const char* device : {kA, kB}) {
    Connect(device);
    Map(device, Region(0, 0x7000'0000));
  }
  Run();
  Tell({Binding("a", 5, 0x1000, kA), Binding("b", 5, 0x1000, kB)});
  EXPECT_THAT(Run(), ElementsAre("allocate pasid 5", kBind5,
                                 "bind 0000:3b:00.1 pasid 5 VTD_S1 root 0x1000 width 48"));
  Answers();
  Tell({Absent(Binding("a", 5, 0x1000, kA))});
  EXPECT_THAT(Run(), ElementsAre("unbind 0000:3b:00.0 pasid 5"));
  EXPECT_THAT(Answers(), ElementsAre("a g2 ABSENT"));
}

TEST_F(ShimCoreTest, RootChangeWithoutPermissionKeepsTheOldRoot) {
  const v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  StartMachine();
  Program(binding);
  Tell({NextGeneration(binding, 0x2000)});
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_THAT(Answers(), ElementsAre("b g2 FAILED for good: TRANSLATION_GAP_NOT_ALLOWED"));
  EXPECT_EQ(last_.programmed_root(), 0x1000);
  EXPECT_EQ(last_.programmed_generation(), 1);
}

TEST_F(ShimCoreTest, RootChangeWithPermissionReplacesAndMeasuresTheGap) {
  v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  binding.set_allow_translation_gap(true);
  StartMachine();
  Program(binding);
  Tell({NextGeneration(binding, 0x2000)});
  EXPECT_THAT(Run(), ElementsAre(kReplace5));
  EXPECT_THAT(Answers(), ElementsAre("b g2 ACCEPTED", "b g2 PROGRAMMED"));
  EXPECT_EQ(last_.programmed_root(), 0x2000);
  EXPECT_EQ(last_.translation_gap().nanos(), 3'000'000);
}

class GaplessShimCoreTest : public ShimCoreFixture {
 protected:
  GaplessShimCoreTest() : ShimCoreFixture(/*replace_has_gap=*/false) {}
};

TEST_F(GaplessShimCoreTest, RootChangeNeedsNoPermission) {
  const v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  StartMachine();
  Program(binding);
  Tell({NextGeneration(binding, 0x2000)});
  EXPECT_THAT(Run(), ElementsAre(kReplace5));
  EXPECT_THAT(Answers(), ElementsAre("b g2 ACCEPTED", "b g2 PROGRAMMED"));
  EXPECT_FALSE(last_.has_translation_gap());
}

TEST_F(ShimCoreTest, FailedReplaceKeepsTheOldRootAndIsRetried) {
  v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  binding.set_allow_translation_gap(true);
  StartMachine();
  Program(binding);
  Fail(kReplace5, Errno("BIND_PGTBL", EBUSY));
  Tell({NextGeneration(binding, 0x2000)});
  Run();
  EXPECT_THAT(Answers(), ElementsAre("b g2 ACCEPTED", "b g2 FAILED: KERNEL_BUSY"));
  EXPECT_EQ(last_.programmed_root(), 0x1000);
  Heal();
  EXPECT_THAT(RunRetry(), ElementsAre(kReplace5));
  EXPECT_THAT(Answers(), ElementsAre("b g2 PROGRAMMED"));
  EXPECT_EQ(last_.attempts(), 2);
}

TEST_F(ShimCoreTest, ReplaceThatLosesTheOldRootSaysSoAndBindsLater) {
  v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  binding.set_allow_translation_gap(true);
  StartMachine();
  Program(binding);
  Fail(kReplace5, KernelErrorStatus({"BIND_PGTBL", kA, EBUSY}, absl::StatusCode::kDataLoss));
  Tell({NextGeneration(binding, 0x2000)});
  EXPECT_THAT(Run(), ElementsAre(kReplace5));
  EXPECT_THAT(Answers(), ElementsAre("b g2 ACCEPTED", "b g2 FAILED: KERNEL_BUSY"));
  EXPECT_EQ(last_.programmed_root(), 0);
  EXPECT_THAT(RunRetry(), ElementsAre("bind 0000:3b:00.0 pasid 5 VTD_S1 root 0x2000 width 48"));
  EXPECT_THAT(Answers(), ElementsAre("b g2 PROGRAMMED"));
}

TEST_F(ShimCoreTest, SecondBindingOfAKeyConflicts) {
  StartMachine();
  Program(Binding("a", 5, 0x1000));
  Tell({Binding("b", 5, 0x2000)});
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_THAT(Answers(), ElementsAre("b g1 FAILED for good: PASID_CONFLICT"));
}

TEST_F(ShimCoreTest, BindingOfAKeyThatIsGoingWaitsForIt) {
  StartMachine();
  Program(Binding("a", 5, 0x1000));
  Tell({Absent(Binding("a", 5, 0x1000)), Binding("b", 5, 0x2000)});
  EXPECT_THAT(Run(), ElementsAre("unbind 0000:3b:00.0 pasid 5", "free pasid 5", "allocate pasid 5",
                                 "bind 0000:3b:00.0 pasid 5 VTD_S1 root 0x2000 width 48"));
  EXPECT_THAT(Answers(),
              ElementsAre("b g1 ACCEPTED: PASID_CONFLICT", "a g2 ABSENT", "b g1 PROGRAMMED"));
}

TEST_F(ShimCoreTest, ConflictingBindingThatGoesLeavesTheOtherAlone) {
  StartMachine();
  Program(Binding("a", 5, 0x1000));
  Tell({Binding("b", 5, 0x2000)});
  Run();
  Answers();
  Tell({Absent(Binding("b", 5, 0x2000))});
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_THAT(Answers(), ElementsAre("b g2 ABSENT"));
  EXPECT_EQ(core_.held().bindings.size(), 1);
}

TEST_F(ShimCoreTest, InventoryHasFenceMachineAndBindings) {
  StartMachine();
  Program(Binding("a", 5, 0x1000));
  Tell({Binding("b", 6, 0x1001)});
  const ShimInventory inventory = core_.Inventory(now_);
  EXPECT_EQ(inventory.fence.incarnation(), "store-1");
  EXPECT_EQ(inventory.virtual_machine.uid(), kVmUid);
  EXPECT_EQ(inventory.virtual_machine.generation(), 1);
  EXPECT_EQ(inventory.virtual_machine.vm_instance(), "boot-1");
  ASSERT_EQ(inventory.bindings.size(), 2);
  EXPECT_EQ(Summary(inventory.bindings[0]), "a g1 PROGRAMMED");
  EXPECT_EQ(Summary(inventory.bindings[1]), "b g1 FAILED for good: FIELD_INVALID");
}

}  // namespace
}  // namespace nestor::agent
