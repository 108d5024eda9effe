// Devices that the host loses and gets back while a machine has them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/shim/shim_core_fixture.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kUnplugged[] = "b g1 FAILED: DEVICE_UNPLUGGED";

class UnplugTest : public ShimCoreFixture {
 protected:
  static v1::DesiredVirtualMachine Without(const std::string& device) {
    v1::DesiredVirtualMachine machine = Machine(1, {kA});
    machine.add_unplugged_devices(device);
    return machine;
  }
};

TEST_F(UnplugTest, DeviceIsLetGoAndItsBindingsFail) {
  StartMachine();
  Program(Binding("b", 5, 0x1000));
  Tell(Without(kA));
  EXPECT_THAT(Run(), ElementsAre("unbind 0000:3b:00.0 pasid 5", "free pasid 5",
                                 "unmap 0000:3b:00.0 gpa 0x0 size 0x10000", "detach 0000:3b:00.0"));
  EXPECT_THAT(Answers(), ElementsAre(kUnplugged, kUnplugged)) << "before and after the unbind";
  EXPECT_EQ(last_.programmed_root(), 0);
  const v1::VirtualMachineResult machine = MachineAnswer();
  EXPECT_EQ(machine.failure().reason(), "DEVICE_UNPLUGGED");
  EXPECT_EQ(machine.vm_instance(), "boot-1") << "the guest runs on";
}

TEST_F(UnplugTest, DeviceThatIsBackHasMemoryAndBindingsAsBefore) {
  StartMachine();
  Program(Binding("b", 5, 0x1000));
  Tell(Without(kA));
  Run();
  Answers();
  Tell(Machine(1, {kA}));
  EXPECT_THAT(Run(), ElementsAre("attach 0000:3b:00.0", "map 0000:3b:00.0 gpa 0x0 size 0x10000",
                                 "allocate pasid 5",
                                 "bind 0000:3b:00.0 pasid 5 VTD_S1 root 0x1000 width 48"));
  Answers();
  EXPECT_EQ(last_.outcome(), v1::Result::OUTCOME_PROGRAMMED);
  EXPECT_FALSE(MachineAnswer().has_failure());
}

TEST_F(UnplugTest, OtherDevicesGoOn) {
  StartMachine();
  Program(Binding("b", 5, 0x1000));
  v1::DesiredVirtualMachine machine = Machine(2, {kA, kB});
  machine.add_unplugged_devices(kB);
  Tell(machine);
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_THAT(Answers(), IsEmpty());
}

TEST_F(UnplugTest, DeletedBindingIsAbsentMeanwhileAndItsPasidIsHeldUntilThen) {
  StartMachine();
  const v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  Program(binding);
  Tell(Without(kA));
  Tell({Absent(binding), Binding("next", 5, 0x2000)});
  EXPECT_THAT(Answers(), ElementsAre(kUnplugged, "next g1 ACCEPTED: PASID_CONFLICT"));
  Run();
  EXPECT_THAT(Answers(), ElementsAre("b g2 ABSENT", "next g1 FAILED: DEVICE_UNPLUGGED"));
}

TEST_F(UnplugTest, MonitorIsToldAndNotKeptWaiting) {
  StartMachine();
  Tell(Without(kA));
  Run();
  EXPECT_EQ(GetReason(core_.AttachOutcome(kA).value()), "DEVICE_UNPLUGGED");
  Map(kA, Region(0x10000, 0x7100'0000));
  EXPECT_EQ(GetReason(core_.MapOutcome(kA, Region(0x10000, 0x7100'0000)).value()),
            "DEVICE_UNPLUGGED");
}

TEST_F(UnplugTest, BindThatRunsMeanwhileIsUndone) {
  StartMachine();
  Tell({Binding("b", 5, 0x1000)});
  const std::optional<Step> allocate = core_.NextStep(now_);
  Finish(*allocate);
  const std::optional<Step> bind = core_.NextStep(now_);
  ASSERT_EQ(NameOf(*bind), "bind");
  Tell(Without(kA));
  Finish(*bind);
  Run();
  EXPECT_EQ(core_.held(), AddressSpaceState());
  Answers();
  EXPECT_EQ(Summary(last_), kUnplugged);
}

TEST_F(UnplugTest, MachineToldAgainTriesAFailedAttachAnew) {
  Fail("attach 0000:3b:00.0", absl::NotFoundError("no such device"));
  Tell(Machine(1, {kA}));
  EXPECT_THAT(Run(), ElementsAre("attach 0000:3b:00.0"));
  EXPECT_EQ(core_.NextRetry(), std::nullopt);
  Heal();
  Tell(Machine(1, {kA}));
  EXPECT_THAT(Run(), ElementsAre("attach 0000:3b:00.0"));
}

}  // namespace
}  // namespace nestor::agent
