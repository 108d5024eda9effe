// The shim over the real type1 code on a simulated kernel: a machine's whole life. The same with
// each of its system calls failing once is in tests/fault.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

#include "agent/kernel/faulty_syscalls.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/shim/inline_shim.h"
#include "agent/shim/shim_core_fixture.h"
#include "agent/shim/step_executor.h"
#include "agent/vfio/type1_backend.h"

namespace nestor::agent {
namespace {

using ::testing::SizeIs;

// Of DefaultSimMachine.
constexpr char kFirst[] = "0000:01:00.0";
constexpr char kSecond[] = "0000:02:00.0";
constexpr uint64_t kMemorySize = 0x10000;

v1::DesiredBinding AllowGap(v1::DesiredBinding binding) {
  binding.set_allow_translation_gap(true);
  return binding;
}

// Whether everything that a process can hold is gone.
bool HoldsNothing(const kernel::SimStatistics& statistics) {
  return statistics.descriptors == 0 && statistics.containers == 0 && statistics.groups == 0 &&
         statistics.pasids == 0 && statistics.bindings == 0 && statistics.mappings == 0;
}

class Type1ShimTest : public ShimCoreFixture {
 protected:
  Type1ShimTest()
      : memory_(
            mmap(nullptr, kMemorySize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
        kernel_(kernel::DefaultSimMachine(2)),
        process_(kernel_.CreateProcess()),
        syscalls_(*process_),
        backend_(syscalls_),
        space_(backend_.CreateAddressSpace().value()) {}
  ~Type1ShimTest() override { munmap(memory_, kMemorySize); }

  // Does steps, retries included, until there is nothing to wait for.
  void RunOnKernel() {
    for (int steps = 0; steps < 1000; ++steps) {
      const std::optional<Step> step = core_.NextStep(now_);
      if (step.has_value()) {
        core_.FinishStep(Execute(*step, backend_, *space_), now_);
        ASSERT_EQ(core_.held(), space_->state()) << ToString(*step);
      } else if (core_.NextRetry().has_value()) {
        now_ = *core_.NextRetry();
      } else {
        return;
      }
    }
    FAIL() << "the machine never settles";
  }
  MemoryRegion GuestMemoryAt(uint64_t guest_address) const {
    return {.guest_address = guest_address,
            .size = kMemorySize,
            .user_address = reinterpret_cast<uint64_t>(memory_)};
  }
  void ConnectWithMemory(const std::string& device) {
    Connect(device);
    Map(device, GuestMemoryAt(0));
  }

  // Attach, bind, change a root, reset, bind again, end. Checks every state in between.
  void LiveALife() {
    Tell(Machine(1, {kFirst, kSecond}));
    RunOnKernel();
    ConnectWithMemory(kFirst);
    ConnectWithMemory(kSecond);
    const v1::DesiredBinding one = AllowGap(Binding("one", 5, 0x1000, kFirst));
    const v1::DesiredBinding two = Binding("two", 5, 0x2000, kSecond);
    Tell({one, two});
    RunOnKernel();
    ASSERT_THAT(kernel_.Bindings(), SizeIs(2));
    EXPECT_EQ(kernel_.Bindings()[0].stage1.root, 0x1000);

    Tell({NextGeneration(one, 0x3000)});
    RunOnKernel();
    ASSERT_THAT(kernel_.Bindings(), SizeIs(2));
    EXPECT_EQ(kernel_.Bindings()[0].stage1.root, 0x3000);

    ASSERT_TRUE(core_.Reset(kFirst, "boot-2", now_).ok());
    RunOnKernel();
    EXPECT_THAT(kernel_.Bindings(), SizeIs(0));
    EXPECT_EQ(kernel_.Statistics().pasids, 0);
    Tell({NextGeneration(two, 0x4000)});
    RunOnKernel();
    EXPECT_THAT(kernel_.Bindings(), SizeIs(1));

    core_.DisconnectMonitor(kFirst, now_);
    core_.DisconnectMonitor(kSecond, now_);
    RunOnKernel();
    EXPECT_EQ(kernel_.Statistics().mappings, 0);
    v1::DesiredVirtualMachine absent = Machine(2, {});
    absent.set_absent(true);
    Tell(absent);
    RunOnKernel();
    EXPECT_TRUE(core_.HoldsNothing());
    EXPECT_TRUE(HoldsNothing(kernel_.Statistics()));
  }

  void* const memory_;
  kernel::SimKernel kernel_;
  std::unique_ptr<kernel::SimProcess> process_;
  kernel::FaultySyscalls syscalls_;
  Type1Backend backend_;
  std::unique_ptr<AddressSpace> space_;
};

TEST_F(Type1ShimTest, MachineLivesAndLeavesNothingBehind) { LiveALife(); }

TEST_F(Type1ShimTest, PasidOfAnotherProcessIsTakenOnTheHost) {
  const auto other = kernel_.CreateProcess();
  Type1Backend other_backend(*other);
  const auto other_space = other_backend.CreateAddressSpace().value();
  ASSERT_TRUE(other_space->Attach(kSecond).ok());
  ASSERT_TRUE(other_space->AllocatePasid(5).ok());
  Tell(Machine(1, {kFirst}));
  RunOnKernel();
  ConnectWithMemory(kFirst);
  Tell({Binding("b", 5, 0x1000, kFirst)});
  while (const std::optional<Step> step = core_.NextStep(now_)) {
    core_.FinishStep(Execute(*step, backend_, *space_), now_);
  }
  Answers();
  EXPECT_EQ(Summary(last_), "b g1 FAILED: PASID_TAKEN_ON_HOST");
  ASSERT_TRUE(other_space->FreePasid(5).ok());
  RunOnKernel();
  Answers();
  EXPECT_EQ(Summary(last_), "b g1 PROGRAMMED");
}

// With its threads, and guest memory in a file as a monitor hands it over.
TEST_F(Type1ShimTest, InlineShimMapsTheMonitorsFileAndLetsGoOfIt) {
  SystemClock clock;
  const int memfd = memfd_create("guest", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(memfd, kMemorySize), 0);
  {
    InlineShimLauncher launcher(backend_, syscalls_, clock, [](const std::string&, ShimReport) {},
                                {});
    const auto shim = launcher.Launch("projects/p/virtualMachines/v", kVmUid).value();
    const v1::DesiredVirtualMachine machine = Machine(1, {kFirst});
    ASSERT_TRUE(shim->Apply(Fence(), &machine, {}).ok());
    ASSERT_TRUE(shim->VmmConnected(kFirst).ok());
    ASSERT_TRUE(
        shim->MapMemory(kFirst, {.guest_address = 0, .size = kMemorySize, .fd = memfd}).ok());
    EXPECT_EQ(kernel_.Statistics().mappings, 1);
    EXPECT_EQ(fcntl(memfd, F_GETFD), -1) << "the shim owns the descriptor";
    EXPECT_GT(shim->RegionSize(kFirst, 0).value(), 0);
    EXPECT_TRUE(shim->ResetDevice(kFirst).ok());
  }
  EXPECT_TRUE(HoldsNothing(kernel_.Statistics()));
}

}  // namespace
}  // namespace nestor::agent
