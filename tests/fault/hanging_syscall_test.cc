// Each system call in the life of a virtual machine hangs once, for as long as it takes another
// machine to live its whole life, and for as long as the agent's event loop, on which the lease
// is renewed, speaks to the owner of the machine that hangs.
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "agent/shim/inline_shim.h"
#include "agent/shim/shim_core_fixture.h"
#include "api/support/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fault/fault_machine.h"

namespace nestor::fault {
namespace {

using namespace nestor::agent;  // NOLINT: the machine under test

// What the shims said, for those who wait for it.
class Answers {
 public:
  void Take(const std::string& vm_uid, const ShimReport& report) {
    const std::lock_guard lock(mutex_);
    for (const v1::Result& result : report.bindings) {
      said_.insert(vm_uid + " " + Summary(result));
    }
    for (const v1::VirtualMachineResult& machine : report.virtual_machines) {
      if (machine.absent()) said_.insert(vm_uid + " absent");
    }
    changed_.notify_all();
  }
  // False: it did not come within 10 s.
  bool WaitFor(const std::string& words) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return said_.contains(words); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::string> said_;
};

v1::Fence TestFence() {
  v1::Fence fence;
  fence.set_incarnation("store-1");
  fence.set_epoch(1);
  fence.set_head_revision(1);
  return fence;
}

// A host with two machines, each with one device.
class TwoMachines {
 public:
  explicit TwoMachines(const Interface& its)
      : machine_(its),
        launcher_(machine_.backend(), machine_.syscalls(), clock_,
                  [this](const std::string& vm_uid, const ShimReport& report) {
                    answers_.Take(vm_uid, report);
                  },
                  {.workers = 2, .backoff = {.first = absl::Milliseconds(1)}}) {}

  FaultMachine& machine() { return machine_; }

  // Attach, map, bind, change the root, reset, bind, let go.
  void LiveALife(const std::string& vm_uid, const Bdf& device, uint32_t pasid) {
    const auto shim = launcher_.Launch("projects/p/virtualMachines/" + vm_uid, vm_uid).value();
    v1::DesiredVirtualMachine machine = Machine(1, {device});
    machine.set_uid(vm_uid);
    ASSERT_TRUE(shim->Apply(TestFence(), &machine, {}).ok());
    ASSERT_TRUE(shim->VmmConnected(device).ok());
    ASSERT_TRUE(shim->MapMemory(device, Memory()).ok());
    v1::DesiredBinding binding = Binding("b", pasid, 0x1000, device);
    binding.set_vm_uid(vm_uid);
    binding.set_allow_translation_gap(true);
    for (const uint64_t root : {0x1000, 0x2000}) {
      binding.set_generation(static_cast<int64_t>(root >> 12));
      binding.mutable_page_table()->set_root(root);
      ASSERT_TRUE(shim->Apply(TestFence(), nullptr, {binding}).ok());
      ASSERT_TRUE(answers_.WaitFor(vm_uid + " b g" + std::to_string(root >> 12) + " PROGRAMMED"));
    }
    ASSERT_TRUE(shim->ResetDevice(device).ok());
    shim->VmmDisconnected(device);
    machine.set_absent(true);
    machine.set_generation(2);
    ASSERT_TRUE(shim->Apply(TestFence(), &machine, {}).ok());
    ASSERT_TRUE(answers_.WaitFor(vm_uid + " absent"));
  }

  // What the event loop asks of an owner: it must not wait for the kernel.
  void SpeakTo(const std::string& vm_uid) {
    for (const auto& shim : launcher_.Running()) {
      if (shim->Inventory().virtual_machine.uid() != vm_uid) continue;
      EXPECT_TRUE(shim->Apply(TestFence(), nullptr, {}).ok());
    }
  }

 private:
  static GuestMemory Memory() {
    const int memfd = memfd_create("guest", MFD_CLOEXEC);
    EXPECT_EQ(ftruncate(memfd, FaultMachine::kMemorySize), 0);
    return {.guest_address = 0, .size = FaultMachine::kMemorySize, .fd = memfd};
  }

  SystemClock clock_;
  FaultMachine machine_;
  Answers answers_;
  InlineShimLauncher launcher_;  // ends first
};

class HangingSyscallTest : public ::testing::TestWithParam<Interface> {
 protected:
  // Whether call number `number` of the first machine's life was reached, and hung.
  bool HangInCall(int number) {
    TwoMachines host(GetParam());
    kernel::FaultySyscalls& syscalls = host.machine().syscalls();
    syscalls.HangCall(number);
    std::atomic<bool> lived = false;
    std::thread first([&] {
      host.LiveALife("first", "0000:01:00.0", 5);
      lived = true;
    });
    while (!syscalls.IsHanging() && !lived) std::this_thread::yield();
    const bool was_reached = !lived;
    if (was_reached) {
      host.SpeakTo("first");
      host.LiveALife("second", "0000:02:00.0", 6);
      EXPECT_FALSE(lived);
    }
    syscalls.Release();
    first.join();
    return was_reached;
  }
};

TEST_P(HangingSyscallTest, HoldsUpNoOtherMachineAndNoLease) {
  for (int number = 1; HangInCall(number) && !HasFailure(); ++number) {
    ASSERT_LT(number, 1000);
  }
}

INSTANTIATE_TEST_SUITE_P(OfEachInterface, HangingSyscallTest, testing::ValuesIn(Interfaces()),
                         [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nestor::fault
