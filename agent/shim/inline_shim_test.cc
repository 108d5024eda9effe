#include "agent/shim/inline_shim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <latch>
#include <thread>

#include "agent/core/kernel_error.h"
#include "agent/shim/inline_shim_fixture.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(InlineShimTest, LaunchGivesTheShimThatRuns) {
  const auto shim = Launch();
  EXPECT_EQ(Launch(), shim);
  EXPECT_THAT(launcher_->Running(), ElementsAre(shim));
  EXPECT_EQ(backend_.open(), 1);
}

TEST_F(InlineShimTest, MemoryIsMappedHereUntilItIsUnmappedAndItsDescriptorClosed) {
  const auto shim = LaunchGuest();
  EXPECT_EQ(syscalls_.closed, 1);
  EXPECT_EQ(syscalls_.mapped, 1);
  ASSERT_TRUE(shim->UnmapMemory(kA, 0, 0x10000).ok());
  // A mapping goes with the task after the one that unmapped it.
  while (syscalls_.mapped != 0) std::this_thread::yield();
  EXPECT_EQ(shim->UnmapMemory(kA, 0, 0x10000).code(), absl::StatusCode::kNotFound);
}

TEST_F(InlineShimTest, MemoryOfAGoneMonitorIsUnmapped) {
  const auto shim = LaunchGuest();
  shim->VmmDisconnected(kA);
  while (syscalls_.mapped != 0) std::this_thread::yield();
  EXPECT_EQ(shim->Inventory().virtual_machine.vm_instance(), "");
}

TEST_F(InlineShimTest, ReadOnlyMemoryAndMemoryWithoutADescriptorAreNotMapped) {
  const auto shim = LaunchGuest();
  GuestMemory read_only = Memory(0x100000);
  read_only.writable = false;
  EXPECT_TRUE(shim->MapMemory(kA, read_only).ok());
  GuestMemory without_fd = Memory(0x200000);
  without_fd.fd = -1;
  EXPECT_TRUE(shim->MapMemory(kA, without_fd).ok());
  EXPECT_EQ(syscalls_.mapped, 1);
  EXPECT_EQ(syscalls_.closed, 2);
  EXPECT_TRUE(shim->UnmapMemory(kA, 0x100000, 0x10000).ok());
}

TEST_F(InlineShimTest, MemoryThatCannotBeMappedHereMakesTheMachineIncomplete) {
  const auto shim = LaunchGuest();
  syscalls_.mmap_error = ENOMEM;
  const absl::Status status = shim->MapMemory(kA, Memory(0x100000));
  EXPECT_EQ(GetKernelError(status)->operation, "mmap");
  EXPECT_TRUE(reports_.WaitForMachine(
      [](const auto& machine) { return machine.failure().reason() == "MEMORY_INCOMPLETE"; }));
}

TEST_F(InlineShimTest, OverlappingMemoryIsRefusedAndItsMappingDropped) {
  const auto shim = LaunchGuest();
  EXPECT_EQ(shim->MapMemory(kA, Memory(0)).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(syscalls_.mapped, 1);
}

TEST_F(InlineShimTest, BlockedCallOfOneShimHoldsUpNoOther) {
  std::latch blocked(1);
  std::latch go_on(1);
  backend_.SetHook([&](const Step& step) {
    if (step == Step(AttachDevice{kB})) {
      blocked.count_down();
      go_on.wait();
    }
    return absl::OkStatus();
  });
  const auto slow = Launch("slow");
  ASSERT_TRUE(Tell(*slow, Machine(1, {kB}), "slow").ok());
  blocked.wait();
  const auto quick = LaunchGuest("quick");
  ASSERT_TRUE(Tell(*quick, Binding("b", 5, 0x1000), "quick").ok());
  EXPECT_TRUE(reports_.WaitForBinding("quick b g1 PROGRAMMED"));
  // Nor does it stop questions to, and intents for, its own shim.
  EXPECT_EQ(slow->Inventory().virtual_machine.generation(), 1);
  EXPECT_TRUE(Tell(*slow, Machine(2, {kB}), "slow").ok());
  go_on.count_down();
  EXPECT_TRUE(reports_.WaitForMachine(
      [](const auto& machine) { return machine.uid() == "slow" && machine.generation() == 2; }));
}

TEST_F(InlineShimTest, AnswersBeforeAStepThatHangsAreTold) {
  const auto shim = LaunchGuest();
  std::latch go_on(1);
  backend_.SetHook([&](const Step&) {
    go_on.wait();
    return absl::OkStatus();
  });
  ASSERT_TRUE(Tell(*shim, Binding("b", 5, 0x1000)).ok());
  EXPECT_TRUE(reports_.WaitForBinding("vm-uid b g1 ACCEPTED"));
  EXPECT_THAT(reports_.bindings(), SizeIs(1));
  go_on.count_down();
  EXPECT_TRUE(reports_.WaitForBinding("vm-uid b g1 PROGRAMMED"));
}

TEST_F(InlineShimTest, RetireRefusesAShimThatHoldsSomething) {
  const auto shim = LaunchGuest();
  EXPECT_EQ(launcher_->Retire(kVmUid).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(launcher_->Running(), SizeIs(1));
  EXPECT_EQ(launcher_->Retire("other").code(), absl::StatusCode::kNotFound);
}

TEST_F(InlineShimTest, RetiredShimIsGoneAndRefusesEveryCall) {
  const auto shim = LaunchGuest();
  v1::DesiredVirtualMachine absent = Machine(2, {});
  absent.set_absent(true);
  ASSERT_TRUE(Tell(*shim, absent).ok());
  ASSERT_TRUE(reports_.WaitForMachine([](const auto& machine) { return machine.absent(); }));
  ASSERT_TRUE(launcher_->Retire(kVmUid).ok());
  EXPECT_THAT(launcher_->Running(), IsEmpty());
  EXPECT_EQ(backend_.open(), 0);
  EXPECT_EQ(Tell(*shim, Machine(3, {kA})).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(shim->VmmConnected(kA).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(shim->RegionSize(kA, 0).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(Launch(), shim);
}

TEST_F(InlineShimTest, EndOfTheLauncherClosesEverything) {
  const auto shim = LaunchGuest();
  launcher_.reset();
  EXPECT_EQ(backend_.open(), 0);
  EXPECT_EQ(syscalls_.mapped, 0);
  EXPECT_EQ(shim->MapMemory(kA, Memory(0)).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(syscalls_.mapped, 0);
  EXPECT_EQ(syscalls_.closed, 2);
}

TEST_F(InlineShimTest, EndOfTheLauncherReleasesWhoWaits) {
  std::latch blocked(1);
  std::latch go_on(1);
  const auto shim = LaunchGuest();
  backend_.SetHook([&](const Step&) {
    blocked.count_down();
    go_on.wait();
    return absl::OkStatus();
  });
  std::thread monitor([&] {
    EXPECT_EQ(shim->MapMemory(kA, Memory(0x100000)).code(), absl::StatusCode::kUnavailable);
    go_on.count_down();
  });
  blocked.wait();
  launcher_.reset();
  monitor.join();
  EXPECT_EQ(backend_.open(), 0);
  EXPECT_EQ(syscalls_.mapped, 0);
}

TEST_F(InlineShimTest, ManyMachinesChangeAtOnce) {
  constexpr int kMachines = 8;
  constexpr int kRounds = 20;
  std::vector<std::thread> threads;
  for (int i = 0; i < kMachines; ++i) {
    threads.emplace_back([this, vm_uid = "vm" + std::to_string(i)] {
      const auto shim = LaunchGuest(vm_uid);
      v1::DesiredBinding binding = Binding("b", 5, 0x1000);
      binding.set_allow_translation_gap(true);
      for (int round = 1; round <= kRounds; ++round) {
        EXPECT_TRUE(Tell(*shim, binding, vm_uid).ok());
        if (round % 5 == 0) {
          EXPECT_TRUE(shim->ResetDevice(kA).ok());
        }
        EXPECT_TRUE(shim->ReadRegion(kA, 0, 0, 4).ok());
        binding = NextGeneration(binding, 0x1000u * static_cast<unsigned>(round + 1));
      }
      EXPECT_TRUE(Tell(*shim, Absent(binding), vm_uid).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kMachines; ++i) {
    EXPECT_TRUE(reports_.WaitForBinding("vm" + std::to_string(i) + " b g" +
                                        std::to_string(kRounds + 2) + " ABSENT"));
  }
}

}  // namespace
}  // namespace nestor::agent
