// What a guest sees: a real shim, the real type1 backend and vfio-user server over a
// simulated kernel, and a guest whose device does DMA through its own page tables.

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>

#include "absl/strings/str_cat.h"
#include "agent/kernel/dma_engine_registers.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/shim/inline_shim.h"
#include "agent/vfio/type1_backend.h"
#include "agent/vmm/vmm_server.h"
#include "agent/vmm/vmm_socket.h"
#include "api/support/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/guest/guest.h"
#include "tests/guest/guest_console.h"

namespace nestor::guest {
namespace {

using agent::Shim;
using agent::ShimReport;

constexpr char kVm[] = "projects/p/virtualMachines/v";
constexpr char kVmUid[] = "vm-uid";
constexpr char kDevice[] = "0000:01:00.0";
constexpr char kOtherDevice[] = "0000:02:00.0";
constexpr uint64_t kRam = 16 << 20;
constexpr uint64_t kAddress = 0x7f00'0000'0000;
constexpr AddressSpaceRoot kRoot{0x100000, 4};
constexpr AddressSpaceRoot kNextRoot{0x200000, 4};

// The shim's latest answer for each binding.
class Answers {
 public:
  void Take(const ShimReport& report) {
    const std::lock_guard lock(mutex_);
    for (const v1::Result& result : report.bindings) latest_[result.uid()] = result;
    changed_.notify_all();
  }
  v1::Result WaitFor(const std::string& uid, v1::Result::Outcome outcome, int64_t generation) {
    std::unique_lock lock(mutex_);
    const auto arrived = [&] {
      return latest_[uid].outcome() == outcome && latest_[uid].generation() == generation;
    };
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(10), arrived))
        << latest_[uid].ShortDebugString();
    return latest_[uid];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, v1::Result> latest_;
};

class GuestDmaTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "guest_dma.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    launcher_ = std::make_unique<agent::InlineShimLauncher>(
        backend_, *process_, clock_,
        [this](const std::string&, const ShimReport& report) { answers_.Take(report); },
        agent::InlineShimOptions());
    shim_ = launcher_->Launch(kVm, kVmUid).value();
    server_ = agent::VmmServer::Start(directory_).value();
    ApplyMachine();
    for (const char* device : {kDevice, kOtherDevice}) {
      ASSERT_TRUE(server_->AddDevice(kVm, device, shim_).ok());
      const absl::Status connected = guest_->Connect(device, SocketPath(device));
      ASSERT_TRUE(connected.ok()) << connected;
    }
    ASSERT_TRUE(guest_->MapText(kRoot, kAddress, "first").ok());
    ASSERT_TRUE(guest_->MapText(kNextRoot, kAddress, "second").ok());
  }
  void TearDown() override {
    guest_.reset();
    server_.reset();
    shim_.reset();
    launcher_.reset();
    std::filesystem::remove_all(directory_);
    process_.reset();
    ExpectNothingHeld();
  }

  std::string SocketPath(const std::string& device) {
    return agent::VmmSocketPath(directory_, kVm, device).value();
  }

  v1::Fence Fence() {
    v1::Fence fence;
    fence.set_incarnation("incarnation");
    fence.set_epoch(1);
    fence.set_head_revision(++revision_);
    return fence;
  }

  void ApplyMachine() {
    v1::DesiredVirtualMachine machine;
    machine.set_name(kVm);
    machine.set_uid(kVmUid);
    machine.set_generation(1);
    machine.add_devices(kDevice);
    machine.add_devices(kOtherDevice);
    const absl::Status applied = shim_->Apply(Fence(), &machine, {});
    ASSERT_TRUE(applied.ok()) << applied;
  }

  v1::DesiredBinding Binding(uint32_t pasid, int64_t generation, const char* device = kDevice) {
    v1::DesiredBinding binding;
    binding.set_uid(absl::StrCat(device, "-", pasid));
    binding.set_name(absl::StrCat(kVm, "/pasidBindings/b", pasid));
    binding.set_generation(generation);
    binding.set_vm_uid(kVmUid);
    binding.set_device(device);
    binding.set_pasid(pasid);
    return binding;
  }

  void Apply(const v1::DesiredBinding& binding, v1::Result::Outcome outcome) {
    const absl::Status applied = shim_->Apply(Fence(), nullptr, {binding});
    ASSERT_TRUE(applied.ok()) << applied;
    answers_.WaitFor(binding.uid(), outcome, binding.generation());
  }

  void Bind(uint32_t pasid, const AddressSpaceRoot& space, int64_t generation = 1,
            const char* device = kDevice) {
    v1::DesiredBinding binding = Binding(pasid, generation, device);
    binding.mutable_page_table()->set_format(v1::PageTable::FORMAT_VTD_S1);
    binding.mutable_page_table()->set_root(space.root);
    binding.mutable_page_table()->set_address_width(space.levels == 5 ? 57 : 48);
    binding.set_allow_translation_gap(true);
    Apply(binding, v1::Result::OUTCOME_PROGRAMMED);
  }

  void Unbind(uint32_t pasid, int64_t generation) {
    v1::DesiredBinding binding = Binding(pasid, generation);
    binding.set_absent(true);
    Apply(binding, v1::Result::OUTCOME_ABSENT);
  }

  // What the device read, or the fault as "fault REASON".
  std::string Read(std::optional<uint32_t> pasid, uint64_t address, uint32_t size,
                   const char* device = kDevice) {
    const auto result = guest_->DmaRead(device, pasid, address, size);
    if (!result.ok()) return result.status().ToString();
    if (result->fault) return "fault " + kernel::FaultReasonName(result->fault->reason);
    return result->data;
  }

  void ExpectNothingHeld() {
    const kernel::SimStatistics left = kernel_.Statistics();
    EXPECT_EQ(left.descriptors, 0);
    EXPECT_EQ(left.containers, 0);
    EXPECT_EQ(left.pasids, 0);
    EXPECT_EQ(left.bindings, 0);
    EXPECT_EQ(left.mappings, 0);
    EXPECT_EQ(left.iotlb_entries, 0);
  }

  kernel::SimKernel kernel_{kernel::DefaultSimMachine(2)};
  std::unique_ptr<kernel::SimProcess> process_ = kernel_.CreateProcess();
  agent::Type1Backend backend_{*process_};
  SystemClock clock_;
  Answers answers_;
  std::string directory_;
  int64_t revision_ = 0;
  std::unique_ptr<agent::InlineShimLauncher> launcher_;
  std::shared_ptr<Shim> shim_;
  std::unique_ptr<agent::VmmServer> server_;
  std::unique_ptr<Guest> guest_ = Guest::Create(kRam).value();
};

TEST_F(GuestDmaTest, BoundPasidReadsWhatTheGuestsTableMaps) {
  Bind(5, kRoot);
  EXPECT_EQ(Read(5, kAddress, 5), "first");
}

TEST_F(GuestDmaTest, DeviceWritesLandInGuestMemory) {
  Bind(5, kRoot);
  const auto written = guest_->DmaWrite(kDevice, 5, kAddress + 0x10, "from the device");
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_FALSE(written->fault.has_value());
  const uint64_t entry = guest_->page_tables().LeafEntryAddress(kRoot, kAddress).value();
  const uint64_t page = guest_->memory().ReadEntry(entry).value() & ~uint64_t{0xfff};
  EXPECT_EQ(guest_->memory().Read(page + 0x10, 15).value(), "from the device");
}

TEST_F(GuestDmaTest, AccessMayCrossPages) {
  const uint64_t page = guest_->page_tables().AllocatePage().value();
  ASSERT_TRUE(guest_->memory().Write(page, "next").ok());
  ASSERT_TRUE(guest_->page_tables().Map(kRoot, kAddress + 0x1000, page).ok());
  Bind(5, kRoot);
  EXPECT_EQ(Read(5, kAddress + 0xffe, 6), std::string("\0\0next", 6));
}

TEST_F(GuestDmaTest, UnboundPasidFaults) {
  EXPECT_THAT(Read(5, kAddress, 5), testing::StartsWith("fault "));
  Bind(5, kRoot);
  Unbind(5, 2);
  EXPECT_THAT(Read(5, kAddress, 5), testing::StartsWith("fault "));
}

TEST_F(GuestDmaTest, UnmappedAddressFaultsThere) {
  Bind(5, kRoot);
  const auto result = guest_->DmaRead(kDevice, 5, kAddress + 0x3000, 4);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_TRUE(result->fault.has_value());
  EXPECT_EQ(result->fault->address, kAddress + 0x3000);
}

TEST_F(GuestDmaTest, RootChangeShowsTheNewTable) {
  Bind(5, kRoot);
  EXPECT_EQ(Read(5, kAddress, 6), std::string("first\0", 6));
  Bind(5, kNextRoot, 2);
  EXPECT_EQ(Read(5, kAddress, 6), "second");
}

TEST_F(GuestDmaTest, EachPasidWalksItsOwnTable) {
  Bind(5, kRoot);
  Bind(6, kNextRoot);
  EXPECT_EQ(Read(5, kAddress, 5), "first");
  EXPECT_EQ(Read(6, kAddress, 6), "second");
}

TEST_F(GuestDmaTest, DevicesOfOneMachineSeeTheSameMemory) {
  Bind(5, kRoot);
  Bind(5, kRoot, 1, kOtherDevice);
  ASSERT_TRUE(guest_->DmaWrite(kDevice, 5, kAddress, "shared").ok());
  EXPECT_EQ(Read(5, kAddress, 6, kOtherDevice), "shared");
}

TEST_F(GuestDmaTest, WithoutPasidAddressesAreGuestPhysical) {
  ASSERT_TRUE(guest_->memory().Write(0x5000, "physical").ok());
  EXPECT_EQ(Read(std::nullopt, 0x5000, 8), "physical");
}

TEST_F(GuestDmaTest, FiveLevelsAndLargePagesAreWalked) {
  constexpr AddressSpaceRoot kWide{0x300000, 5};
  constexpr uint64_t kFar = 0x00ab'0000'0020'0000;
  ASSERT_TRUE(guest_->page_tables().CreateRoot(kWide).ok());
  ASSERT_TRUE(guest_->page_tables().Map(kWide, kFar, 0x40'0000, PageSize::k2M).ok());
  ASSERT_TRUE(guest_->memory().Write(0x41'2345, "deep").ok());
  Bind(5, kWide);
  EXPECT_EQ(Read(5, kFar + 0x1'2345, 4), "deep");
}

TEST_F(GuestDmaTest, RemappingAllOfRamKeepsBindings) {
  Bind(5, kRoot);
  for (const char* device : {kDevice, kOtherDevice}) {
    VfioUserClient& monitor = *guest_->Monitor(device).value();
    ASSERT_TRUE(monitor.UnmapMemory(0, kRam).ok());
    EXPECT_THAT(Read(5, kAddress, 5, device), testing::StartsWith("fault "));
    ASSERT_TRUE(monitor.MapMemory(guest_->memory().fd(), 0, 0, 0x100000).ok());
    ASSERT_TRUE(monitor.MapMemory(guest_->memory().fd(), 0x100000, 0x100000, kRam - 0x100000).ok());
  }
  EXPECT_EQ(Read(5, kAddress, 5), "first");
}

TEST_F(GuestDmaTest, ResetUnbindsAndBringsANewInstance) {
  Bind(5, kRoot);
  const std::string before = shim_->Inventory().virtual_machine.vm_instance();
  ASSERT_TRUE(guest_->Monitor(kDevice).value()->Reset().ok());
  EXPECT_THAT(Read(5, kAddress, 5), testing::StartsWith("fault "));
  const v1::Result gone =
      answers_.WaitFor(absl::StrCat(kDevice, "-5"), v1::Result::OUTCOME_NOT_PROGRAMMED, 1);
  EXPECT_EQ(gone.failure().reason(), "VM_INSTANCE_GONE");
  EXPECT_NE(shim_->Inventory().virtual_machine.vm_instance(), before);
  Bind(5, kRoot, 2);
  EXPECT_EQ(Read(5, kAddress, 5), "first");
}

TEST_F(GuestDmaTest, MonitorThatLeavesAndComesBackFindsNothingBound) {
  Bind(5, kRoot);
  guest_->Disconnect(kDevice);
  guest_->Disconnect(kOtherDevice);
  answers_.WaitFor(absl::StrCat(kDevice, "-5"), v1::Result::OUTCOME_NOT_PROGRAMMED, 1);
  EXPECT_EQ(kernel_.Statistics().bindings, 0);
  ASSERT_TRUE(guest_->Connect(kDevice, SocketPath(kDevice)).ok());
  EXPECT_THAT(Read(5, kAddress, 5), testing::StartsWith("fault "));
  EXPECT_EQ(kernel_.Statistics().mappings, 1) << "the memory that was handed over last";
  Bind(5, kRoot, 2);
  EXPECT_EQ(Read(5, kAddress, 5), "first");
}

TEST_F(GuestDmaTest, ConsoleAnswersWhatTheDeviceSaw) {
  GuestConsole console(*guest_, {kDevice});
  EXPECT_THAT(console.Execute("dma-read 5 0x7f0000000000 5"), testing::StartsWith("fault "));
  EXPECT_THAT(console.Execute("storm 5 0x7f0000000000 first 3"), "ok dmas=3 faults=3 mismatches=0");
  Bind(5, kRoot);
  EXPECT_EQ(console.Execute("dma-read 5 0x7f0000000000 16"), "ok first");
  EXPECT_EQ(console.Execute("dma-read 5 0x7f0000000100 2"), "ok 0x0000");
  EXPECT_EQ(console.Execute("expect 5 0x7f0000000000 first"), "ok first");
  EXPECT_EQ(console.Execute("expect 5 0x7f0000000000 other"), "mismatch first");
  EXPECT_EQ(console.Execute("dma-write 5 0x7f0000000000 again"), "ok");
  EXPECT_EQ(console.Execute("dma-read 5 0x7f0000000000 5 0000:01:00.0"), "ok again");
  EXPECT_EQ(console.Execute("storm 5 0x7f0000000000 first 4"), "ok dmas=4 faults=0 mismatches=4");
  EXPECT_EQ(console.Execute("dma-read - 0x100fff 1"), "ok 0x00");
}

}  // namespace
}  // namespace nestor::guest
