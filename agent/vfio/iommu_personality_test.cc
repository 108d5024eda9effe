// What probing finds, and what can be bound, on each kernel and IOMMU that is simulated.
#include <memory>
#include <ostream>
#include <string>

#include "agent/core/kernel_error.h"
#include "agent/vfio/backend_choice.h"
#include "agent/vfio/test_machine.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;

using kernel::SimIommuHardware;
using kernel::SimPersonality;

struct Host {
  const char* name;
  Interface interface;
  SimPersonality personality;
  SimIommuHardware hardware = SimIommuHardware::kVtd;
  // What is to be found.
  NestGranularity granularity = NestGranularity::kNone;
  const char* reason = "";
};
void PrintTo(const Host& host, std::ostream* out) { *out << host.name; }
std::string NameOf(const testing::TestParamInfo<Host>& row) { return row.param.name; }

kernel::SimMachine MachineOf(const Host& host) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(2);
  machine.personality = host.personality;
  machine.iommu.hardware = host.hardware;
  return machine;
}

class PersonalityTest : public testing::TestWithParam<Host> {
 protected:
  SimTestMachine machine_{MachineOf(GetParam()), SimTestMachine::Road::kCalls,
                          GetParam().interface};
  const Bdf device_ = machine_.devices().at(0);
};

TEST_P(PersonalityTest, ProbingFindsWhatTheKernelCanDo) {
  const absl::StatusOr<DeviceCapabilities> found = machine_.backend().Probe(device_);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_THAT(found->granularity, Eq(GetParam().granularity));
  EXPECT_THAT(found->reason, Eq(GetParam().reason));
  EXPECT_THAT(machine_.Held(), Eq(HeldByKernel{}));
}

INSTANTIATE_TEST_SUITE_P(
    All, PersonalityTest,
    testing::Values(
        Host{"Type1OnSeries", Interface::kType1, SimPersonality::kSeriesV6, SimIommuHardware::kVtd,
             NestGranularity::kPasid, ""},
        Host{"Type1OnLinux612", Interface::kType1, SimPersonality::kLinux6_12,
             SimIommuHardware::kVtd, NestGranularity::kNone, "NESTING_UNSUPPORTED_KERNEL"},
        Host{"Type1OnLinux72", Interface::kType1, SimPersonality::kLinux7_2, SimIommuHardware::kVtd,
             NestGranularity::kNone, "NESTING_UNSUPPORTED_KERNEL"},
        Host{"IommufdOnSeries", Interface::kIommufd, SimPersonality::kSeriesV6,
             SimIommuHardware::kVtd, NestGranularity::kNone, "NO_IOMMUFD"},
        Host{"IommufdOnLinux612", Interface::kIommufd, SimPersonality::kLinux6_12,
             SimIommuHardware::kVtd, NestGranularity::kRid, ""},
        Host{"IommufdOnLinux72", Interface::kIommufd, SimPersonality::kLinux7_2,
             SimIommuHardware::kVtd, NestGranularity::kPasid, ""},
        Host{"SmmuOnLinux612", Interface::kIommufd, SimPersonality::kLinux6_12,
             SimIommuHardware::kSmmuV3, NestGranularity::kNone, "NESTING_UNSUPPORTED_KERNEL"},
        Host{"SmmuOnLinux72", Interface::kIommufd, SimPersonality::kLinux7_2,
             SimIommuHardware::kSmmuV3, NestGranularity::kRid, ""},
        Host{"AmdOnLinux72", Interface::kIommufd, SimPersonality::kLinux7_2, SimIommuHardware::kAmd,
             NestGranularity::kNone, "NESTING_UNSUPPORTED_KERNEL"}),
    NameOf);

// Hosts on which the device itself is bound.
class WholeDeviceTest : public PersonalityTest {};

TEST_P(WholeDeviceTest, RootIsBoundReplacedAndUnboundWithoutAnyPasid) {
  const PageTableFormat format = machine_.backend().Probe(device_)->format;
  const std::unique_ptr<AddressSpace> space = *machine_.backend().CreateAddressSpace();
  const BindingKey whole{device_, 0};
  ASSERT_TRUE(space->Attach(device_).ok());
  ASSERT_TRUE(space->Map(device_, machine_.memory()).ok());
  const absl::Status bound = space->Bind(whole, {.format = format, .root = 0x1234'1000});
  ASSERT_TRUE(bound.ok()) << bound;
  // The simulated SMMU takes page tables, but walks none.
  EXPECT_EQ(machine_.Held().roots.empty(), format == PageTableFormat::kArmSmmuV3);
  EXPECT_TRUE(space->Invalidate(whole, 0x1000, 0x1000).ok());
  ASSERT_TRUE(space->Replace(whole, {.format = format, .root = 0x1234'2000}).ok());
  ASSERT_TRUE(space->Unbind(whole).ok());
  EXPECT_THAT(machine_.Held().roots, IsEmpty());
  ASSERT_TRUE(space->Detach(device_).ok());
  EXPECT_THAT(machine_.Held(), Eq(HeldByKernel{}));
}

INSTANTIATE_TEST_SUITE_P(
    All, WholeDeviceTest,
    testing::Values(Host{"VtdOnLinux612", Interface::kIommufd, SimPersonality::kLinux6_12},
                    Host{"VtdOnLinux72", Interface::kIommufd, SimPersonality::kLinux7_2},
                    Host{"SmmuOnLinux72", Interface::kIommufd, SimPersonality::kLinux7_2,
                         SimIommuHardware::kSmmuV3}),
    NameOf);

// The device itself and its PASIDs, which needs every table made for PASIDs.
TEST(WholeDeviceAndPasidTest, AreBoundSideBySide) {
  SimTestMachine machine(Linux72Machine(), SimTestMachine::Road::kCalls, Interface::kIommufd);
  const Bdf device = machine.devices().at(0);
  const std::unique_ptr<AddressSpace> space = *machine.backend().CreateAddressSpace();
  ASSERT_TRUE(space->Attach(device).ok());
  ASSERT_TRUE(space->Map(device, machine.memory()).ok());
  ASSERT_TRUE(space->AllocatePasid(5).ok());
  ASSERT_TRUE(space->Bind({device, 5}, {.root = 0x1234'1000}).ok());
  ASSERT_TRUE(space->Bind({device, 0}, {.root = 0x1234'2000}).ok());
  ASSERT_TRUE(space->Replace({device, 0}, {.root = 0x1234'3000}).ok());
  EXPECT_THAT(machine.Held().roots, ElementsAre(Pair(BindingKey{device, 0}, 0x1234'3000),
                                                Pair(BindingKey{device, 5}, 0x1234'1000)));
}

struct ChoiceCase {
  SimPersonality personality;
  BackendChoice choice;
  const char* chosen;
};

class BackendChoiceTest : public testing::TestWithParam<ChoiceCase> {};

TEST_P(BackendChoiceTest, IsWhatNestsOrWhatWasAskedFor) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.personality = GetParam().personality;
  SimTestMachine host(machine);
  const absl::StatusOr<ChosenBackend> chosen = ChooseBackend(host.syscalls(), GetParam().choice);
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  EXPECT_EQ(chosen->backend->name(), GetParam().chosen);
  EXPECT_THAT(chosen->why, Not(IsEmpty()));
  EXPECT_THAT(host.Held(), Eq(HeldByKernel{}));
}

INSTANTIATE_TEST_SUITE_P(
    All, BackendChoiceTest,
    testing::Values(ChoiceCase{SimPersonality::kSeriesV6, BackendChoice::kAuto, "type1"},
                    ChoiceCase{SimPersonality::kLinux6_12, BackendChoice::kAuto, "iommufd"},
                    ChoiceCase{SimPersonality::kLinux7_2, BackendChoice::kAuto, "iommufd"},
                    // Asked for, an interface is taken even if it cannot nest.
                    ChoiceCase{SimPersonality::kLinux7_2, BackendChoice::kType1, "type1"},
                    ChoiceCase{SimPersonality::kSeriesV6, BackendChoice::kIommufd, "iommufd"}));

}  // namespace
}  // namespace nestor::agent
