// The machine and its guest: devices, monitors, memory, resets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "agent/shim/shim_core_fixture.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kAttachA[] = "attach 0000:3b:00.0";
constexpr char kMap0[] = "map 0000:3b:00.0 gpa 0x0 size 0x10000";
constexpr char kUnmap0[] = "unmap 0000:3b:00.0 gpa 0x0 size 0x10000";
constexpr char kBind5[] = "bind 0000:3b:00.0 pasid 5 VTD_S1 root 0x1000 width 48";
constexpr char kUnbind5[] = "unbind 0000:3b:00.0 pasid 5";

class GuestTest : public ShimCoreFixture {
 protected:
  // Two devices with monitors and memory.
  void StartTwoDevices() {
    Tell(Machine(1, {kA, kB}));
    Run();
    for (const char* device : {kA, kB}) {
      Connect(device);
      Map(device, Region(0, 0x7000'0000));
    }
    Run();
    Answers();
    MachineAnswer();
  }
};

TEST_F(GuestTest, FirstMonitorMintsTheInstanceAndOthersShareIt) {
  Tell(Machine(1, {kA, kB}));
  Run();
  EXPECT_EQ(core_.ConnectMonitor(kA, "boot-1", now_).value(), "boot-1");
  EXPECT_EQ(core_.ConnectMonitor(kB, "boot-2", now_).value(), "boot-1");
  EXPECT_EQ(MachineAnswer().vm_instance(), "boot-1");
}

TEST_F(GuestTest, MonitorNeedsAnAttachedDeviceAndComesAlone) {
  EXPECT_EQ(GetReason(core_.ConnectMonitor(kA, "boot-1", now_).status()), "DEVICE_NOT_ATTACHED");
  StartMachine();
  EXPECT_EQ(core_.ConnectMonitor(kA, "boot-2", now_).status().code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_F(GuestTest, LastMonitorToGoUnbindsBeforeStage2AndEndsTheInstance) {
  StartMachine();
  Program(Binding("b", 5, 0x1000));
  core_.DisconnectMonitor(kA, now_);
  EXPECT_THAT(Run(), ElementsAre(kUnbind5, "free pasid 5", kUnmap0));
  EXPECT_THAT(Answers(), ElementsAre("b g1 NOT_PROGRAMMED for good: VM_INSTANCE_GONE"));
  EXPECT_EQ(last_.programmed_root(), 0);
  EXPECT_EQ(MachineAnswer().vm_instance(), "");
}

TEST_F(GuestTest, BindingOfAnEndedInstanceWaitsForANewGeneration) {
  const v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  StartMachine();
  Program(binding);
  core_.DisconnectMonitor(kA, now_);
  Run();
  Answers();
  Connect(kA, "boot-2");
  Map(kA, Region(0, 0x8000'0000));
  EXPECT_THAT(Run(), ElementsAre(kMap0));
  EXPECT_THAT(Answers(), IsEmpty());
  Tell({NextGeneration(binding, 0x1000)});
  EXPECT_THAT(Run(), ElementsAre("allocate pasid 5", kBind5));
  EXPECT_THAT(Answers(), ElementsAre("b g2 ACCEPTED", "b g2 PROGRAMMED"));
  EXPECT_EQ(last_.vm_instance(), "boot-2");
}

TEST_F(GuestTest, NewGenerationDuringTheEndUnbindsFirstAndNeverReplaces) {
  const v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  StartMachine();
  Program(binding);
  core_.DisconnectMonitor(kA, now_);
  Tell({NextGeneration(binding, 0x1000)});
  EXPECT_THAT(Run(), ElementsAre(kUnbind5, "free pasid 5", kUnmap0));
  EXPECT_THAT(Answers(), ElementsAre("b g2 ACCEPTED: WAITING_FOR_VMM"));
}

TEST_F(GuestTest, BindThatRunsWhenTheInstanceEndsIsUndone) {
  StartMachine();
  Tell({Binding("b", 5, 0x1000)});
  Finish(core_.NextStep(now_).value());  // allocate
  const Step bind = core_.NextStep(now_).value();
  core_.DisconnectMonitor(kA, now_);
  Finish(bind);
  EXPECT_THAT(Run(), ElementsAre(kUnbind5, "free pasid 5", kUnmap0));
  EXPECT_THAT(Answers(),
              ElementsAre("b g1 ACCEPTED", "b g1 NOT_PROGRAMMED for good: VM_INSTANCE_GONE"));
}

TEST_F(GuestTest, BindThatFailsWhileTheInstanceEndsWaitsForTheNextOne) {
  StartMachine();
  Tell({Binding("b", 5, 0x1000)});
  Finish(core_.NextStep(now_).value());  // allocate
  const Step bind = core_.NextStep(now_).value();
  Answers();
  core_.DisconnectMonitor(kA, now_);
  Fail(kBind5, Errno("BIND_PGTBL", EBUSY));
  Finish(bind);
  Run();
  EXPECT_THAT(Answers(), ElementsAre("b g1 ACCEPTED: WAITING_FOR_VMM"));
}

TEST_F(GuestTest, NextBootsMemoryWaitsUntilTheLastBootIsUnbound) {
  StartMachine();
  Program(Binding("b", 5, 0x1000));
  Fail(kUnbind5, Errno("UNBIND_PGTBL", ENOMEM));
  core_.DisconnectMonitor(kA, now_);
  EXPECT_THAT(Run(), ElementsAre(kUnbind5, kUnmap0));
  Connect(kA, "boot-2");
  const MemoryRegion region = Region(0, 0x8000'0000);
  Map(kA, region);
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_EQ(core_.MapOutcome(kA, region), std::nullopt);
  Heal();
  EXPECT_THAT(RunRetry(), ElementsAre(kUnbind5, "free pasid 5", kMap0));
  EXPECT_EQ(core_.MapOutcome(kA, region), absl::OkStatus());
}

TEST_F(GuestTest, OneOfTwoMonitorsToGoEndsOnlyItsDevice) {
  StartTwoDevices();
  Program(Binding("a", 5, 0x1000, kA));
  Program(Binding("b", 6, 0x1000, kB));
  core_.DisconnectMonitor(kA, now_);
  EXPECT_THAT(Run(), ElementsAre(kUnbind5, "free pasid 5", kUnmap0));
  EXPECT_THAT(Answers(), ElementsAre("a g1 NOT_PROGRAMMED for good: VM_INSTANCE_GONE"));
  EXPECT_THAT(core_.held().bindings, SizeIs(1));
  EXPECT_EQ(core_.Inventory(now_).virtual_machine.vm_instance(), "boot-1");
}

TEST_F(GuestTest, ResetUnbindsTheWholeMachineThenResetsThenRunsANewInstance) {
  StartTwoDevices();
  Program(Binding("a", 5, 0x1000, kA));
  Program(Binding("b", 6, 0x1000, kB));
  ASSERT_TRUE(core_.Reset(kA, "boot-2", now_).ok());
  EXPECT_EQ(core_.ResetOutcome(kA), std::nullopt);
  EXPECT_THAT(Run(), ElementsAre(kUnbind5, "unbind 0000:3b:00.1 pasid 6", "reset 0000:3b:00.0",
                                 "free pasid 5", "free pasid 6"));
  EXPECT_EQ(core_.ResetOutcome(kA), absl::OkStatus());
  EXPECT_THAT(Answers(), ElementsAre("a g1 NOT_PROGRAMMED for good: VM_INSTANCE_GONE",
                                     "b g1 NOT_PROGRAMMED for good: VM_INSTANCE_GONE"));
  EXPECT_EQ(MachineAnswer().vm_instance(), "boot-2");
}

TEST_F(GuestTest, NothingIsBoundWhileAResetWaits) {
  const v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  StartMachine();
  Program(binding);
  ASSERT_TRUE(core_.Reset(kA, "boot-2", now_).ok());
  Tell({NextGeneration(binding, 0x1000)});
  EXPECT_THAT(Run(), ElementsAre(kUnbind5, "reset 0000:3b:00.0", kBind5));
}

TEST_F(GuestTest, ResetFailsWhereAnUnbindFails) {
  StartMachine();
  Program(Binding("b", 5, 0x1000));
  Fail(kUnbind5, Errno("UNBIND_PGTBL", EBUSY));
  ASSERT_TRUE(core_.Reset(kA, "boot-2", now_).ok());
  EXPECT_THAT(Run(), ElementsAre(kUnbind5));
  EXPECT_EQ(core_.ResetOutcome(kA), Errno("UNBIND_PGTBL", EBUSY));
  Heal();
  EXPECT_THAT(RunRetry(), ElementsAre(kUnbind5, "free pasid 5"));
  EXPECT_THAT(Answers(), ElementsAre("b g1 NOT_PROGRAMMED for good: VM_INSTANCE_GONE"));
}

TEST_F(GuestTest, FailedResetIsTold) {
  StartMachine();
  Fail("reset 0000:3b:00.0", Errno("VFIO_DEVICE_RESET", ENOTTY));
  ASSERT_TRUE(core_.Reset(kA, "boot-2", now_).ok());
  Run();
  EXPECT_EQ(core_.ResetOutcome(kA), Errno("VFIO_DEVICE_RESET", ENOTTY));
}

TEST_F(GuestTest, ResetNeedsAMonitorAndNoOtherReset) {
  Tell(Machine(1, {kA}));
  Run();
  EXPECT_EQ(core_.Reset(kA, "boot-2", now_).code(), absl::StatusCode::kFailedPrecondition);
  Connect(kA);
  EXPECT_TRUE(core_.Reset(kA, "boot-2", now_).ok());
  EXPECT_EQ(core_.Reset(kA, "boot-3", now_).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(GuestTest, DetachThatRunsEndsAResetAskedForMeanwhile) {
  StartMachine();
  v1::DesiredVirtualMachine absent = Machine(2, {});
  absent.set_absent(true);
  Tell(absent);
  std::optional<Step> step = core_.NextStep(now_);
  while (step.has_value() && !std::holds_alternative<DetachDevice>(*step)) {
    Finish(*step);
    step = core_.NextStep(now_);
  }
  ASSERT_TRUE(step.has_value());
  ASSERT_TRUE(core_.Reset(kA, "boot-2", now_).ok());
  Finish(*step);
  EXPECT_EQ(core_.ResetOutcome(kA).value().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_TRUE(core_.HoldsNothing());
}

TEST_F(GuestTest, MonitorThatGoesEndsItsReset) {
  StartMachine();
  ASSERT_TRUE(core_.Reset(kA, "boot-2", now_).ok());
  core_.DisconnectMonitor(kA, now_);
  EXPECT_EQ(core_.ResetOutcome(kA).value().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(Run(), ElementsAre(kUnmap0));
}

TEST_F(GuestTest, ExactRemapKeepsBindings) {
  StartMachine();
  Program(Binding("b", 5, 0x1000));
  ASSERT_TRUE(core_.UnmapMemory(kA, 0, 0x10000, now_).ok());
  EXPECT_THAT(Run(), ElementsAre(kUnmap0));
  Map(kA, Region(0, 0x8000'0000));
  EXPECT_THAT(Run(), ElementsAre(kMap0));
  EXPECT_THAT(Answers(), IsEmpty());
  EXPECT_THAT(core_.held().bindings, SizeIs(1));
}

TEST_F(GuestTest, MemoryIsUsedUntilStage2LetsGo) {
  StartMachine();
  EXPECT_TRUE(core_.UsesMemory(0x7000'0000));
  ASSERT_TRUE(core_.UnmapMemory(kA, 0, 0x10000, now_).ok());
  EXPECT_TRUE(core_.UsesMemory(0x7000'0000));
  Run();
  EXPECT_FALSE(core_.UsesMemory(0x7000'0000));
}

TEST_F(GuestTest, RecordedMemoryIsNotMappedAndCountsForNothing) {
  Tell(Machine(1, {kA}));
  Run();
  Connect(kA);
  ASSERT_TRUE(core_.RecordMemory(kA, Region(0, 0), absl::OkStatus(), now_).ok());
  Tell({Binding("b", 5, 0x1000)});
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_THAT(Answers(), ElementsAre("b g1 ACCEPTED: WAITING_FOR_VMM"));
  EXPECT_FALSE(MachineAnswer().has_failure());
}

TEST_F(GuestTest, FailedMapMakesTheMachineIncompleteAndKeepsWhatIsBound) {
  StartMachine();
  Program(Binding("old", 5, 0x1000));
  Fail("map 0000:3b:00.0 gpa 0x100000 size 0x10000", Errno("VFIO_IOMMU_MAP_DMA", EFAULT));
  Map(kA, Region(0x100000, 0x8000'0000));
  Run();
  const v1::VirtualMachineResult machine = MachineAnswer();
  EXPECT_EQ(machine.failure().reason(), "MEMORY_INCOMPLETE");
  EXPECT_EQ(machine.failure().kind(), v1::Failure::KIND_TRANSIENT);
  EXPECT_EQ(machine.failure().kernel_error().error_name(), "EFAULT");
  EXPECT_EQ(core_.Inventory(now_).virtual_machine.memory_failure().reason(), "MEMORY_INCOMPLETE");
  Tell({Binding("new", 6, 0x1000)});
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_THAT(Answers(), ElementsAre("new g1 FAILED: MEMORY_INCOMPLETE"));
  EXPECT_THAT(core_.held().bindings, SizeIs(1));
}

TEST_F(GuestTest, FailedMapIsTriedAgainWhenMemoryChanges) {
  StartMachine();
  const MemoryRegion region = Region(0x100000, 0x8000'0000);
  Fail("map 0000:3b:00.0 gpa 0x100000 size 0x10000", Errno("VFIO_IOMMU_MAP_DMA", EINVAL));
  Map(kA, region);
  Tell({Binding("b", 5, 0x1000)});
  Run();
  EXPECT_EQ(core_.MapOutcome(kA, region), Errno("VFIO_IOMMU_MAP_DMA", EINVAL));
  Answers();
  MachineAnswer();
  Heal();
  EXPECT_THAT(Run(), IsEmpty());
  Map(kA, Region(0x200000, 0x9000'0000));
  Run();
  EXPECT_EQ(core_.MapOutcome(kA, region), absl::OkStatus());
  EXPECT_THAT(Answers(), ElementsAre("b g1 PROGRAMMED"));
  EXPECT_FALSE(MachineAnswer().has_failure());
}

TEST_F(GuestTest, FailedMapThatIsUnmappedNoLongerCounts) {
  StartMachine();
  Fail("map 0000:3b:00.0 gpa 0x100000 size 0x10000", Errno("VFIO_IOMMU_MAP_DMA", EINVAL));
  Map(kA, Region(0x100000, 0x8000'0000));
  Run();
  ASSERT_TRUE(core_.UnmapMemory(kA, 0x100000, 0x10000, now_).ok());
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_FALSE(MachineAnswer().has_failure());
}

TEST_F(GuestTest, MemoryThatTheProcessCouldNotMapMakesTheMachineIncomplete) {
  StartMachine();
  ASSERT_TRUE(core_.RecordMemory(kA, Region(0x100000, 0), Errno("mmap", ENOMEM), now_).ok());
  EXPECT_EQ(MachineAnswer().failure().reason(), "MEMORY_INCOMPLETE");
  Tell({Binding("b", 5, 0x1000)});
  EXPECT_THAT(Answers(), ElementsAre("b g1 FAILED: MEMORY_INCOMPLETE"));
}

TEST_F(GuestTest, MemoryNeedsAMonitor) {
  Tell(Machine(1, {kA}));
  Run();
  EXPECT_EQ(core_.MapMemory(kA, Region(0, 0x7000'0000), now_).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(GuestTest, OutcomesOfMapAndUnmapComeWithTheirSteps) {
  StartMachine();
  const MemoryRegion region = Region(0x100000, 0x8000'0000);
  Map(kA, region);
  EXPECT_EQ(core_.MapOutcome(kA, region), std::nullopt);
  Run();
  EXPECT_EQ(core_.MapOutcome(kA, region), absl::OkStatus());
  ASSERT_EQ(core_.UnmapMemory(kA, 0x100000, 0x10000, now_).value(), region);
  EXPECT_EQ(core_.UnmapOutcome(kA, region), std::nullopt);
  Run();
  EXPECT_EQ(core_.UnmapOutcome(kA, region), absl::OkStatus());
}

TEST_F(GuestTest, MapWhoseMonitorGoesIsAborted) {
  StartMachine();
  const MemoryRegion region = Region(0x100000, 0x8000'0000);
  Map(kA, region);
  core_.DisconnectMonitor(kA, now_);
  EXPECT_EQ(core_.MapOutcome(kA, region).value().code(), absl::StatusCode::kAborted);
}

TEST_F(GuestTest, FailedUnmapIsToldAndTriedAgain) {
  StartMachine();
  Fail(kUnmap0, Errno("VFIO_IOMMU_UNMAP_DMA", EINVAL));
  ASSERT_TRUE(core_.UnmapMemory(kA, 0, 0x10000, now_).ok());
  Run();
  EXPECT_EQ(core_.UnmapOutcome(kA, Region(0, 0x7000'0000)), Errno("VFIO_IOMMU_UNMAP_DMA", EINVAL));
  Heal();
  EXPECT_THAT(RunRetry(), ElementsAre(kUnmap0));
}

TEST_F(GuestTest, FailedAttachIsToldAndStopsOnlyItsDevice) {
  Fail(kAttachA, WithReason(Errno("open", EBUSY), "GROUP_BUSY"));
  Tell(Machine(1, {kA, kB}));
  Tell({Binding("b", 5, 0x1000)});
  EXPECT_THAT(Run(), ElementsAre(kAttachA, "attach 0000:3b:00.1"));
  EXPECT_EQ(MachineAnswer().failure().reason(), "GROUP_BUSY");
  EXPECT_THAT(Answers(),
              ElementsAre("b g1 ACCEPTED: WAITING_FOR_VMM", "b g1 ACCEPTED: DEVICE_NOT_ATTACHED"));
  Heal();
  EXPECT_THAT(RunRetry(), ElementsAre(kAttachA));
  EXPECT_FALSE(MachineAnswer().has_failure());
}

TEST_F(GuestTest, UnsuitableDeviceFailsItsBindingsForGood) {
  Fail(kAttachA, WithReason(absl::FailedPreconditionError("two functions"), "GROUP_SHARED"));
  Tell(Machine(1, {kA}));
  Tell({Binding("b", 5, 0x1000)});
  Run();
  EXPECT_EQ(MachineAnswer().failure().reason(), "GROUP_SHARED");
  EXPECT_THAT(Answers(), ElementsAre("b g1 ACCEPTED: WAITING_FOR_VMM",
                                     "b g1 FAILED for good: DEVICE_UNSUITABLE"));
}

TEST_F(GuestTest, MonitorThatWantsToConnectHasTheAttachTriedAgain) {
  Fail(kAttachA, WithReason(absl::FailedPreconditionError("ixgbe"), "DRIVER_NOT_VFIO"));
  Tell(Machine(1, {kA}));
  Run();
  ASSERT_EQ(core_.AttachOutcome(kA).value().message(), "ixgbe");
  Heal();
  core_.PrepareMonitor(kA);
  EXPECT_EQ(core_.AttachOutcome(kA), std::nullopt);
  EXPECT_THAT(Run(), ElementsAre(kAttachA));
  EXPECT_EQ(core_.AttachOutcome(kA), absl::OkStatus());
}

TEST_F(GuestTest, DeviceTakenAwayLetsGoOfEverythingOnIt) {
  StartTwoDevices();
  Program(Binding("a", 5, 0x1000, kA));
  Tell(Machine(2, {kB}));
  EXPECT_THAT(Run(), ElementsAre(kUnbind5, "free pasid 5", kUnmap0, "detach 0000:3b:00.0"));
  EXPECT_THAT(Answers(), ElementsAre("a g1 NOT_PROGRAMMED for good: DEVICE_NOT_ATTACHED"));
}

TEST_F(GuestTest, AbsentMachineLetsGoOfEverythingAndIsAnswered) {
  StartMachine();
  Program(Binding("b", 5, 0x1000));
  v1::DesiredVirtualMachine absent = Machine(2, {});
  absent.set_absent(true);
  Tell(absent);
  EXPECT_FALSE(core_.HoldsNothing());
  EXPECT_FALSE(MachineAnswer().absent());
  EXPECT_THAT(Run(), ElementsAre(kUnbind5, "free pasid 5", kUnmap0, "detach 0000:3b:00.0"));
  EXPECT_TRUE(core_.HoldsNothing());
  const v1::VirtualMachineResult answer = MachineAnswer();
  EXPECT_TRUE(answer.absent());
  EXPECT_EQ(answer.generation(), 2);
}

TEST_F(GuestTest, AbsentMachineIsNotAnsweredWhileSomethingIsHeld) {
  StartMachine();
  Fail("detach 0000:3b:00.0", Errno("VFIO_GROUP_UNSET_CONTAINER", EBUSY));
  v1::DesiredVirtualMachine absent = Machine(2, {});
  absent.set_absent(true);
  Tell(absent);
  Run();
  const v1::VirtualMachineResult answer = MachineAnswer();
  EXPECT_FALSE(answer.absent());
  EXPECT_EQ(answer.failure().reason(), "KERNEL_BUSY");
  Heal();
  RunRetry();
  EXPECT_TRUE(MachineAnswer().absent());
}

TEST_F(GuestTest, RepeatedMachineIsAnsweredAgain) {
  StartMachine();
  Tell(Machine(1, {kA}));
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_EQ(MachineAnswer().generation(), 1);
}

TEST_F(GuestTest, LateOlderMachineIsIgnored) {
  StartMachine();
  Tell(Machine(2, {kA}));
  Tell(Machine(1, {}));
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_EQ(MachineAnswer().generation(), 2);
}

}  // namespace
}  // namespace nestor::agent
