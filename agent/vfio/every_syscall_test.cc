// Each system call of each operation fails in turn: the record stays true to the kernel,
// and nothing is left behind.
#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "agent/vfio/test_machine.h"
#include "agent/vfio/test_syscalls.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::Eq;

constexpr PageTable kTable{.root = 0x1234'1000};
constexpr PageTable kOtherTable{.root = 0x1234'2000};

// Which calls fail.
enum class Failing {
  kOne,      // the n-th
  kAllFrom,  // the n-th and all after it
};

struct Operation {
  const char* name;
  // From an empty address space to the state before the operation.
  std::function<absl::Status(AddressSpace&, TestMachine&)> prepare;
  std::function<absl::Status(AddressSpace&, TestMachine&)> run;
};

using EverySyscallParam = std::tuple<Interface, Operation, Failing, int>;

BindingKey Key(TestMachine& machine) { return {machine.devices().at(0), 5}; }

absl::Status PrepareNothing(AddressSpace&, TestMachine&) { return absl::OkStatus(); }
absl::Status PrepareAttached(AddressSpace& space, TestMachine& machine) {
  return space.Attach(machine.devices().at(0));
}
absl::Status PrepareMapped(AddressSpace& space, TestMachine& machine) {
  absl::Status status = PrepareAttached(space, machine);
  status.Update(space.Map(machine.devices().at(0), machine.memory()));
  return status;
}
absl::Status PrepareToBind(AddressSpace& space, TestMachine& machine) {
  absl::Status status = PrepareMapped(space, machine);
  status.Update(space.AllocatePasid(5));
  return status;
}
absl::Status PrepareBound(AddressSpace& space, TestMachine& machine) {
  absl::Status status = PrepareToBind(space, machine);
  status.Update(space.Bind(Key(machine), kTable));
  return status;
}

std::vector<Operation> Operations() {
  return {
      {"Attach", PrepareNothing,
       [](AddressSpace& space, TestMachine& machine) {
         return space.Attach(machine.devices().at(0));
       }},
      {"Map", PrepareAttached,
       [](AddressSpace& space, TestMachine& machine) {
         return space.Map(machine.devices().at(0), machine.memory());
       }},
      {"AllocatePasid", PrepareMapped,
       [](AddressSpace& space, TestMachine&) { return space.AllocatePasid(5); }},
      {"Bind", PrepareToBind,
       [](AddressSpace& space, TestMachine& machine) { return space.Bind(Key(machine), kTable); }},
      {"Replace", PrepareBound,
       [](AddressSpace& space, TestMachine& machine) {
         return space.Replace(Key(machine), kOtherTable);
       }},
      {"Unbind", PrepareBound,
       [](AddressSpace& space, TestMachine& machine) { return space.Unbind(Key(machine)); }},
      {"FreePasid", PrepareToBind,
       [](AddressSpace& space, TestMachine&) { return space.FreePasid(5); }},
      {"Unmap", PrepareToBind,
       [](AddressSpace& space, TestMachine& machine) {
         return space.Unmap(machine.devices().at(0), machine.memory());
       }},
      {"Detach", PrepareToBind,
       [](AddressSpace& space, TestMachine& machine) {
         return space.Detach(machine.devices().at(0));
       }},
  };
}

SimTestMachine MakeMachine(Interface interface) {
  return SimTestMachine(
      interface == Interface::kType1 ? kernel::DefaultSimMachine(2) : Linux72Machine(),
      SimTestMachine::Road::kCalls, interface);
}

// What the kernel holds for a state. PASIDs are its own with type1 only.
HeldByKernel Expected(const AddressSpaceState& state, Interface interface) {
  HeldByKernel held;
  held.devices = static_cast<int>(state.devices.size());
  if (interface == Interface::kType1) held.pasids = static_cast<int>(state.pasids.size());
  for (const auto& [device, regions] : state.memory) {
    held.mappings += static_cast<int>(regions.size());
  }
  for (const auto& [key, table] : state.bindings) held.roots[key] = table.root;
  return held;
}

class EverySyscallTest : public testing::TestWithParam<EverySyscallParam> {};

TEST_P(EverySyscallTest, LeavesRecordTrueAndNothingBehind) {
  const auto& [interface, operation, failing, error] = GetParam();
  bool was_reached = true;
  for (int n = 1; was_reached; ++n) {
    SCOPED_TRACE(testing::Message() << "call " << n);
    SimTestMachine machine = MakeMachine(interface);
    std::unique_ptr<AddressSpace> space = *machine.backend().CreateAddressSpace();
    ASSERT_TRUE(operation.prepare(*space, machine).ok());
    const AddressSpaceState before = space->state();

    was_reached = false;
    machine.syscalls().Start([&, failing = failing, error = error](const auto& call) {
      const bool fails = failing == Failing::kOne ? call.number == n : call.number >= n;
      was_reached |= fails;
      return fails ? TestSyscalls::Fail(error) : TestSyscalls::Pass();
    });
    const absl::Status status = operation.run(*space, machine);

    EXPECT_THAT(machine.Held(), Eq(Expected(space->state(), interface))) << status;
    if (!status.ok() && !absl::IsDataLoss(status)) {
      EXPECT_THAT(space->state(), Eq(before)) << status;
    }
    space.reset();
    EXPECT_THAT(machine.Held(), Eq(HeldByKernel{})) << status;
    ASSERT_THAT(n, testing::Lt(100));
  }
}

std::string NameOf(const testing::TestParamInfo<EverySyscallParam>& row) {
  const auto& [interface, operation, failing, error] = row.param;
  return std::string(interface == Interface::kType1 ? "Type1" : "Iommufd") + operation.name +
         (failing == Failing::kOne ? "One" : "AllFrom") + (error == EIO ? "Eio" : "Eintr");
}

// EINTR is repeated where that is safe; EIO never is.
INSTANTIATE_TEST_SUITE_P(All, EverySyscallTest,
                         testing::Combine(testing::Values(Interface::kType1, Interface::kIommufd),
                                          testing::ValuesIn(Operations()),
                                          testing::Values(Failing::kOne, Failing::kAllFrom),
                                          testing::Values(EIO, EINTR)),
                         NameOf);

}  // namespace
}  // namespace nestor::agent
