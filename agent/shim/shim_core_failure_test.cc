// Bindings that fail or are refused, and intents that are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <ostream>

#include "agent/shim/shim_core_fixture.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kBind5[] = "bind 0000:3b:00.0 pasid 5 VTD_S1 root 0x1000 width 48";

using FailureTest = ShimCoreFixture;

TEST_F(FailureTest, TransientFailureIsRetriedAfterABackoffThatGrows) {
  StartMachine();
  Fail(kBind5, Errno("BIND_PGTBL", EBUSY));
  Tell({Binding("b", 5, 0x1000)});
  Run();
  EXPECT_THAT(Answers(), ElementsAre("b g1 ACCEPTED", "b g1 FAILED: KERNEL_BUSY"));
  EXPECT_EQ(last_.failure().kernel_error().operation(), "BIND_PGTBL");
  EXPECT_EQ(last_.failure().kernel_error().error_name(), "EBUSY");
  EXPECT_TRUE(last_.failure().has_next_attempt_time());
  const absl::Duration first = core_.NextRetry().value() - now_;
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_THAT(RunRetry(), ElementsAre(kBind5));
  EXPECT_EQ(core_.NextRetry().value() - now_, Delay({}, 2, 0));
  EXPECT_EQ(first, Delay({}, 1, 0));
  Answers();
  EXPECT_EQ(last_.attempts(), 2);
}

TEST_F(FailureTest, PermanentFailureWaitsForANewGeneration) {
  const v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  StartMachine();
  Fail(kBind5, Errno("BIND_PGTBL", EINVAL));
  Tell({binding});
  Run();
  EXPECT_THAT(Answers(), ElementsAre("b g1 ACCEPTED", "b g1 FAILED for good: KERNEL_REFUSED"));
  EXPECT_EQ(core_.NextRetry(), std::nullopt);
  Heal();
  EXPECT_THAT(Run(), IsEmpty());
  Tell({NextGeneration(binding, 0x1000)});
  Run();
  EXPECT_THAT(Answers(), ElementsAre("b g2 ACCEPTED", "b g2 PROGRAMMED"));
}

TEST_F(FailureTest, PasidTakenOnTheHostIsRetried) {
  StartMachine();
  Fail("allocate pasid 5", Errno("PASID_REQUEST(ALLOC)", ENOSPC));
  Tell({Binding("b", 5, 0x1000)});
  EXPECT_THAT(Run(), ElementsAre("allocate pasid 5"));
  EXPECT_THAT(Answers(), ElementsAre("b g1 ACCEPTED", "b g1 FAILED: PASID_TAKEN_ON_HOST"));
  Heal();
  EXPECT_THAT(RunRetry(), ElementsAre("allocate pasid 5", kBind5));
}

TEST_F(FailureTest, FailureOfOneBindingDoesNotStopTheOthers) {
  StartMachine();
  Fail(kBind5, Errno("BIND_PGTBL", EBUSY));
  Fail("allocate pasid 6", Errno("PASID_REQUEST(ALLOC)", ENOSPC));
  Tell({Binding("five", 5, 0x1000), Binding("six", 6, 0x1000), Binding("seven", 7, 0x1000)});
  Run();
  Answers();
  EXPECT_THAT(core_.held().bindings,
              ElementsAre(testing::Key(BindingKey{.device = kA, .pasid = 7})));
}

struct Refused {
  std::string name;
  v1::DesiredBinding binding;
  std::string answer;
};

void PrintTo(const Refused& refused, std::ostream* out) { *out << refused.name; }

class RefusedBindingTest : public ShimCoreFixture, public ::testing::WithParamInterface<Refused> {};

TEST_P(RefusedBindingTest, IsAnsweredForGoodWithoutACall) {
  StartMachine();
  Tell({GetParam().binding});
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_THAT(Answers(), ElementsAre(GetParam().answer));
}

v1::DesiredBinding WithTable(v1::PageTable::Format format, uint64_t root, uint32_t width) {
  v1::DesiredBinding binding = Binding("b", 5, root);
  binding.mutable_page_table()->set_format(format);
  binding.mutable_page_table()->set_address_width(width);
  return binding;
}

v1::DesiredBinding ForInstance(const std::string& instance) {
  v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  binding.set_vm_instance(instance);
  return binding;
}

INSTANTIATE_TEST_SUITE_P(
    Rules, RefusedBindingTest,
    ::testing::Values(
        Refused{"UnalignedRoot", Binding("b", 5, 0x1001), "b g1 FAILED for good: FIELD_INVALID"},
        Refused{"RootBeyondMemory", Binding("b", 5, uint64_t{1} << 50),
                "b g1 FAILED for good: FIELD_INVALID"},
        Refused{"OddWidth", WithTable(v1::PageTable::FORMAT_VTD_S1, 0x1000, 39),
                "b g1 FAILED for good: FIELD_INVALID"},
        Refused{"FiveLevelsWithoutHardware", WithTable(v1::PageTable::FORMAT_VTD_S1, 0x1000, 57),
                "b g1 FAILED for good: DEVICE_UNSUITABLE"},
        Refused{"OtherFormat", WithTable(v1::PageTable::FORMAT_ARM_SMMUV3, 0x1000, 48),
                "b g1 FAILED for good: FORMAT_UNSUPPORTED"},
        Refused{"Rid", Binding("b", 0, 0x1000), "b g1 FAILED for good: UNSUPPORTED"},
        Refused{"PasidTooWide", Binding("b", 1 << 20, 0x1000),
                "b g1 FAILED for good: FIELD_INVALID"},
        Refused{"OtherDevice", Binding("b", 5, 0x1000, "0000:5e:00.0"),
                "b g1 FAILED for good: DEVICE_NOT_ATTACHED"},
        Refused{"OtherInstance", ForInstance("boot-0"),
                "b g1 FAILED for good: VM_INSTANCE_MISMATCH"}),
    [](const auto& row) { return row.param.name; });

TEST_F(FailureTest, BindingWithTheRunningInstanceIsProgrammed) {
  StartMachine();
  Program(ForInstance("boot-1"));
}

TEST_F(FailureTest, DeviceOfABindingNeverChanges) {
  v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  StartMachine();
  Program(binding);
  binding.set_generation(2);
  binding.set_pasid(6);
  Tell({binding});
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_THAT(Answers(), ElementsAre("b g2 FAILED for good: FIELD_INVALID"));
  EXPECT_EQ(last_.pasid(), 5);
}

TEST_F(FailureTest, StaleFenceChangesNothing) {
  const v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  StartMachine();
  ASSERT_TRUE(core_.Apply(Fence(3, 50), nullptr, {binding}, now_).ok());
  Run();
  Answers();
  EXPECT_EQ(GetReason(core_.Apply(Fence(2, 60), nullptr, {Absent(binding)}, now_)), "STALE_FENCE");
  EXPECT_EQ(GetReason(core_.Apply(Fence(3, 49), nullptr, {Absent(binding)}, now_)), "STALE_FENCE");
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_THAT(Answers(), IsEmpty());
  EXPECT_EQ(core_.Inventory(now_).fence.head_revision(), 50);
}

TEST_F(FailureTest, OtherIncarnationIsHeldAndChangesNothing) {
  StartMachine();
  Program(Binding("b", 5, 0x1000));
  v1::Fence other = Fence(100, 100);
  other.set_incarnation("store-2");
  const v1::DesiredVirtualMachine machine = Machine(9, {});
  EXPECT_EQ(GetReason(core_.Apply(other, &machine, {Absent(Binding("b", 5, 0x1000))}, now_)),
            "HOLD");
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_THAT(Answers(), IsEmpty());
  EXPECT_EQ(core_.Inventory(now_).fence.incarnation(), "store-1");
}

TEST_F(FailureTest, ObjectsOfAnotherMachineAreInvalidAndChangeNothing) {
  v1::DesiredVirtualMachine machine = Machine(1, {kA});
  machine.set_uid("other");
  EXPECT_EQ(core_.Apply(Fence(), &machine, {}, now_).code(), absl::StatusCode::kInvalidArgument);
  v1::DesiredBinding binding = Binding("b", 5, 0x1000);
  binding.set_vm_uid("other");
  EXPECT_THAT(core_.Apply(Fence(), nullptr, {binding}, now_).message(), HasSubstr("b"));
  EXPECT_THAT(Run(), IsEmpty());
  EXPECT_EQ(core_.Inventory(now_).fence.incarnation(), "");
}

}  // namespace
}  // namespace nestor::agent
