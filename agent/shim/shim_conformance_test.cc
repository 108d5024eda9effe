// What every Shim promises, whichever process it lives in.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <future>
#include <map>
#include <memory>

#include "agent/core/kernel_error.h"
#include "agent/kernel/linux_syscalls.h"
#include "agent/shim/inline_shim_fixture.h"
#include "agent/shim/test_shim_process.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr uint64_t kMemorySize = 0x10000;

enum class Launcher { kInline, kProcess };

class ShimConformanceTest : public ::testing::TestWithParam<Launcher> {
 protected:
  ShimConformanceTest() {
    std::string pattern = "/tmp/nestor-shim-XXXXXX";
    directory_ = mkdtemp(pattern.data());
    const auto report = [this](const std::string& vm_uid, ShimReport said) {
      reports_.Take(vm_uid, std::move(said));
    };
    InlineShimOptions options;
    options.backoff.first = absl::Milliseconds(1);
    const std::string name = "projects/p/virtualMachines/v";
    if (GetParam() == Launcher::kInline) {
      launcher_ =
          std::make_unique<InlineShimLauncher>(backend_, syscalls_, clock_, report, options);
      shim_ = *launcher_->Launch(name, kVmUid);
    } else {
      const std::string socket = directory_ + "/shim.sock";
      process_ =
          std::make_unique<TestShimProcess>(name, kVmUid, socket, backend_, syscalls_, options);
      shim_ =
          *ProcessShim::Connect(socket, {}, {report, nullptr, nullptr, [](const std::string&) {}});
    }
  }
  ~ShimConformanceTest() override {
    shim_.reset();
    std::filesystem::remove_all(directory_);
  }

  static v1::Fence Fence() {
    v1::Fence fence;
    fence.set_incarnation("store-1");
    fence.set_epoch(1);
    fence.set_head_revision(1);
    return fence;
  }
  static absl::Status Tell(Shim& shim, v1::DesiredVirtualMachine machine) {
    machine.set_uid(kVmUid);
    return shim.Apply(Fence(), &machine, {});
  }
  static absl::Status Tell(Shim& shim, const v1::DesiredBinding& binding) {
    return shim.Apply(Fence(), nullptr, {binding});
  }
  static GuestMemory Memory(uint64_t guest_address) {
    const int fd = memfd_create("guest", MFD_CLOEXEC);
    EXPECT_EQ(ftruncate(fd, kMemorySize), 0);
    return {.guest_address = guest_address, .size = kMemorySize, .fd = fd};
  }
  std::shared_ptr<Shim> Launch() { return shim_; }
  // A machine whose guest runs on kA with 64 KiB of memory.
  std::shared_ptr<Shim> LaunchGuest() {
    EXPECT_TRUE(Tell(*shim_, Machine(1, {kA})).ok());
    EXPECT_TRUE(shim_->VmmConnected(kA).ok());
    EXPECT_TRUE(shim_->MapMemory(kA, Memory(0)).ok());
    return shim_;
  }

  std::string directory_;
  RecordingBackend backend_;
  kernel::LinuxSyscalls syscalls_;
  SystemClock clock_;
  Reports reports_;
  std::unique_ptr<InlineShimLauncher> launcher_;  // of kInline
  std::unique_ptr<TestShimProcess> process_;      // of kProcess
  std::shared_ptr<Shim> shim_;
};

INSTANTIATE_TEST_SUITE_P(, ShimConformanceTest,
                         ::testing::Values(Launcher::kInline, Launcher::kProcess),
                         [](const auto& launcher) {
                           return launcher.param == Launcher::kInline ? "Inline" : "Process";
                         });

TEST_P(ShimConformanceTest, IntentBecomesProgrammedAndIsReportedInOrder) {
  const auto shim = LaunchGuest();
  ASSERT_TRUE(Tell(*shim, Binding("b", 5, 0x1000)).ok());
  ASSERT_TRUE(reports_.WaitForBinding("vm-uid b g1 PROGRAMMED"));
  EXPECT_THAT(reports_.bindings(), ElementsAre("vm-uid b g1 ACCEPTED", "vm-uid b g1 PROGRAMMED"));
  EXPECT_THAT(shim->Inventory().bindings, SizeIs(1));
}

TEST_P(ShimConformanceTest, RefusedFenceIsAnsweredByTheCall) {
  const auto shim = LaunchGuest();
  v1::Fence other = Fence();
  other.set_incarnation("store-2");
  EXPECT_EQ(GetReason(shim->Apply(other, nullptr, {Binding("b", 5, 0x1000)})), "HOLD");
}

TEST_P(ShimConformanceTest, ConnectingMonitorGetsTheInstance) {
  const auto shim = Launch();
  ASSERT_TRUE(Tell(*shim, Machine(1, {kA, kB})).ok());
  const std::string instance = shim->VmmConnected(kA).value();
  EXPECT_THAT(instance, testing::MatchesRegex(
                            "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_EQ(shim->VmmConnected(kB).value(), instance);
  EXPECT_EQ(shim->Inventory().virtual_machine.vm_instance(), instance);
}

TEST_P(ShimConformanceTest, ConnectingMonitorIsToldWhyTheDeviceIsNotAttached) {
  backend_.SetHook([](const Step&) {
    return WithReason(absl::FailedPreconditionError("two functions"), "GROUP_SHARED");
  });
  const auto shim = Launch();
  ASSERT_TRUE(Tell(*shim, Machine(1, {kA})).ok());
  EXPECT_EQ(GetReason(shim->VmmConnected(kA).status()), "GROUP_SHARED");
  EXPECT_EQ(GetReason(shim->VmmConnected(kB).status()), "DEVICE_NOT_ATTACHED");
}

TEST_P(ShimConformanceTest, MemoryThatStage2RefusesIsAnsweredWithTheKernelError) {
  const auto shim = LaunchGuest();
  backend_.SetHook([](const Step&) {
    return KernelErrorStatus({"VFIO_IOMMU_MAP_DMA", "0000:3b:00.0", EINVAL});
  });
  EXPECT_EQ(GetKernelError(shim->MapMemory(kA, Memory(0x100000)))->error_number, EINVAL);
}

TEST_P(ShimConformanceTest, RegionsAreReadAndWritten) {
  const auto shim = LaunchGuest();
  EXPECT_EQ(shim->RegionSize(kA, 2).value(), 8192);
  EXPECT_EQ(shim->ReadRegion(kA, 2, 1, 4).value(), "3333");
  EXPECT_TRUE(shim->WriteRegion(kA, 0, 0, "12345678").ok());
  EXPECT_EQ(shim->WriteRegion(kA, 0, 0, "123456789").code(), absl::StatusCode::kOutOfRange);
}

TEST_P(ShimConformanceTest, ResetReturnsWhenDoneAndANewInstanceRuns) {
  const auto shim = LaunchGuest();
  ASSERT_TRUE(Tell(*shim, Binding("b", 5, 0x1000)).ok());
  ASSERT_TRUE(reports_.WaitForBinding("vm-uid b g1 PROGRAMMED"));
  const std::string before = shim->Inventory().virtual_machine.vm_instance();
  ASSERT_TRUE(shim->ResetDevice(kA).ok());
  EXPECT_TRUE(shim->Inventory().held.bindings.empty()) << "before the answer";
  EXPECT_NE(shim->Inventory().virtual_machine.vm_instance(), before);
  EXPECT_TRUE(reports_.WaitForBinding("vm-uid b g1 NOT_PROGRAMMED for good: VM_INSTANCE_GONE"));
}

TEST_P(ShimConformanceTest, TransientFailureIsRetriedByTheTimer) {
  std::atomic<int> binds = 0;
  backend_.SetHook([&](const Step& step) {
    const bool fails = std::holds_alternative<BindTable>(step) && ++binds < 3;
    return fails ? KernelErrorStatus({"BIND_PGTBL", "0000:3b:00.0", EBUSY}) : absl::OkStatus();
  });
  const auto shim = LaunchGuest();
  ASSERT_TRUE(Tell(*shim, Binding("b", 5, 0x1000)).ok());
  EXPECT_TRUE(reports_.WaitForBinding("vm-uid b g1 PROGRAMMED"));
  EXPECT_EQ(binds, 3);
}

TEST_P(ShimConformanceTest, IntentOfAnotherMachineIsRefusedWhole) {
  v1::DesiredBinding other = Binding("b", 5, 0x1000);
  other.set_vm_uid("other");
  EXPECT_EQ(shim_->Apply(Fence(), nullptr, {Binding("a", 4, 0x1000), other}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(shim_->Inventory().bindings, SizeIs(0));
}

TEST_P(ShimConformanceTest, MemoryIsUnmappedOnceAndExactly) {
  const auto shim = LaunchGuest();
  EXPECT_EQ(shim->MapMemory(kA, Memory(0)).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(shim->UnmapMemory(kA, 0, 0x1000).code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(shim->UnmapMemory(kA, 0, kMemorySize).ok());
  EXPECT_EQ(shim->UnmapMemory(kA, 0, kMemorySize).code(), absl::StatusCode::kNotFound);
}

TEST_P(ShimConformanceTest, MemoryWithoutADescriptorIsRecorded) {
  const auto shim = LaunchGuest();
  EXPECT_TRUE(shim->MapMemory(kA, {.guest_address = 0x100000, .size = kMemorySize}).ok());
  EXPECT_THAT(shim->Inventory().held.memory.at(kA), SizeIs(1));
}

TEST_P(ShimConformanceTest, DisconnectEndsTheInstance) {
  const auto shim = LaunchGuest();
  ASSERT_TRUE(Tell(*shim, Binding("b", 5, 0x1000)).ok());
  ASSERT_TRUE(reports_.WaitForBinding("vm-uid b g1 PROGRAMMED"));
  shim->VmmDisconnected(kA);
  EXPECT_TRUE(reports_.WaitForBinding("vm-uid b g1 NOT_PROGRAMMED for good: VM_INSTANCE_GONE"));
  EXPECT_EQ(shim->Inventory().virtual_machine.vm_instance(), "");
}

TEST_P(ShimConformanceTest, InvalidateIsAnsweredOnceByTheKernelOrWithWhyNot) {
  const auto shim = LaunchGuest();
  const auto invalidate = [&](uint32_t pasid) {
    std::promise<absl::Status> done;
    shim->Invalidate({kA, pasid}, 0x1000, 0x1000,
                     [&](const absl::Status& status) { done.set_value(status); });
    return done.get_future().get();
  };
  EXPECT_EQ(GetReason(invalidate(5)), "NOT_PROGRAMMED");
  ASSERT_TRUE(Tell(*shim, Binding("b", 5, 0x1000)).ok());
  ASSERT_TRUE(reports_.WaitForBinding("vm-uid b g1 PROGRAMMED"));
  EXPECT_TRUE(invalidate(5).ok());
}

TEST_P(ShimConformanceTest, InventorySaysAllThatIsHeld) {
  const auto shim = LaunchGuest();
  ASSERT_TRUE(Tell(*shim, Binding("b", 5, 0x1000)).ok());
  ASSERT_TRUE(reports_.WaitForBinding("vm-uid b g1 PROGRAMMED"));
  const ShimInventory inventory = shim->Inventory();
  EXPECT_EQ(inventory.fence.incarnation(), "store-1");
  EXPECT_EQ(inventory.virtual_machine.name(), "projects/p/virtualMachines/v");
  EXPECT_THAT(inventory.held.devices, ElementsAre(kA));
  EXPECT_EQ(inventory.capabilities.at(kA), *backend_.Probe(kA));
  EXPECT_THAT(inventory.held.pasids, ElementsAre(5));
  ASSERT_THAT(inventory.held.memory.at(kA), SizeIs(1));
  EXPECT_EQ(inventory.held.memory.at(kA).begin()->size, kMemorySize);
  EXPECT_NE(inventory.held.memory.at(kA).begin()->user_address, 0);
  EXPECT_EQ(inventory.held.bindings.at({kA, 5}), (PageTable{.root = 0x1000}));
}

TEST_P(ShimConformanceTest, ManyBindingsAreTakenListedAndReported) {
  constexpr uint32_t kMany = 1500;  // more than one packet holds
  std::vector<v1::DesiredBinding> bindings;
  for (uint32_t i = 1; i <= kMany; ++i) {
    bindings.push_back(Binding("b" + std::to_string(i), i, 0x1000));
  }
  ASSERT_TRUE(shim_->Apply(Fence(), nullptr, bindings).ok());
  EXPECT_THAT(shim_->Inventory().bindings, SizeIs(kMany));
  EXPECT_TRUE(reports_.WaitForBinding("vm-uid b1500 g1 ACCEPTED: WAITING_FOR_VMM"));
}

}  // namespace
}  // namespace nestor::agent
