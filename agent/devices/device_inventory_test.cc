#include "agent/devices/device_inventory.h"

#include <cerrno>

#include "agent/core/kernel_error.h"
#include "agent/kernel/faulty_syscalls.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/vfio/test_directory.h"
#include "agent/vfio/type1_backend.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr char kFirst[] = "0000:01:00.0";
constexpr char kSecond[] = "0000:02:00.0";
const absl::Status kResetFailed = absl::UnavailableError("it does not come back");

// The first device belongs to a driver of the host.
kernel::SimMachine HostMachine() {
  kernel::SimMachine machine = kernel::DefaultSimMachine(2);
  machine.devices[0].driver = "idxd";
  machine.devices[0].device_id = 0x0b25;
  return machine;
}

class DeviceInventoryTest : public ::testing::Test {
 protected:
  explicit DeviceInventoryTest(const kernel::SimMachine& machine = HostMachine())
      : kernel_(machine), process_(kernel_.CreateProcess()) {}

  // A new agent that may prepare `selected`.
  void Start(const std::vector<std::string>& selected = {}) {
    inventory_ = std::make_unique<DeviceInventory>(
        syscalls_, backend_, PreparationRecord::Open(directory_.path(), "boot-1").value(),
        DeviceInventoryOptions{.prepare = ParsePrepareSelection(selected).value(),
                               .prepare_backoff = {absl::Seconds(5), absl::Minutes(5)},
                               .reset_backoff = {absl::Seconds(1), absl::Minutes(1)}});
    Refresh();
  }
  void Refresh() { ASSERT_TRUE(inventory_->Refresh(now_).ok()); }
  // Address and reason of each device.
  std::vector<std::pair<Bdf, std::string>> Reasons() {
    std::vector<std::pair<Bdf, std::string>> reasons;
    for (const DeviceFacts& facts : inventory_->Devices()) {
      reasons.emplace_back(facts.function.bdf, facts.capabilities.reason);
    }
    return reasons;
  }
  std::string DriverOf(const Bdf& device) { return ReadPciFunction(*process_, device)->driver; }
  void Write(const std::string& path, const std::string& content) {
    ASSERT_EQ(process_->WriteFile("/sys/bus/pci/" + path, content), 0) << path;
  }
  std::unique_ptr<AddressSpace> Attach(const Bdf& device) {
    auto space = backend_.CreateAddressSpace().value();
    EXPECT_TRUE(space->Attach(device).ok());
    return space;
  }

  const TestDirectory directory_;
  kernel::SimKernel kernel_;
  const std::unique_ptr<kernel::SimProcess> process_;
  kernel::FaultySyscalls syscalls_{*process_};
  Type1Backend backend_{syscalls_};
  absl::Time now_ = absl::FromUnixSeconds(1000);
  std::unique_ptr<DeviceInventory> inventory_;
};

TEST_F(DeviceInventoryTest, NothingIsPreparedThatWasNotSelected) {
  Start();
  EXPECT_THAT(Reasons(), ElementsAre(Pair(kSecond, "")));
  EXPECT_THAT(DriverOf(kFirst), Eq("idxd"));
}

TEST_F(DeviceInventoryTest, SelectedDeviceIsPreparedAndGivenBackByAnAgentWithoutTheSelection) {
  Start({"1234:0b25"});
  EXPECT_THAT(Reasons(), ElementsAre(Pair(kFirst, ""), Pair(kSecond, "")));
  Start();
  EXPECT_THAT(Reasons(), ElementsAre(Pair(kSecond, "")));
  EXPECT_THAT(DriverOf(kFirst), Eq("idxd"));
}

TEST_F(DeviceInventoryTest, DeviceThatAMachineHasIsGivenBackWhenItIsReleased) {
  Start({kFirst});
  auto machine = Attach(kFirst);
  Start();
  EXPECT_THAT(Reasons(), ElementsAre(Pair(kFirst, ""), Pair(kSecond, "")));
  machine.reset();
  now_ = *inventory_->NextRetry();
  Refresh();
  EXPECT_THAT(DriverOf(kFirst), Eq("idxd"));
  EXPECT_THAT(inventory_->NextRetry(), Eq(std::nullopt));
}

TEST_F(DeviceInventoryTest, FailedPreparationIsShownAndNotRepeatedAtOnce) {
  syscalls_.FailPath("/sys/bus/pci/drivers_probe", EINVAL);
  Start({kFirst});
  EXPECT_THAT(Reasons(), ElementsAre(Pair(kFirst, "PREPARE_FAILED"), Pair(kSecond, "")));
  EXPECT_THAT(DriverOf(kFirst), Eq("idxd"));
  syscalls_.Reset();
  Refresh();
  EXPECT_THAT(DriverOf(kFirst), Eq("idxd"));
  now_ = *inventory_->NextRetry();
  Refresh();
  EXPECT_THAT(Reasons(), ElementsAre(Pair(kFirst, ""), Pair(kSecond, "")));
}

TEST_F(DeviceInventoryTest, DevicesGoAndComeBack) {
  Start({kFirst});
  Write("devices/0000:01:00.0/remove", "1");
  Refresh();
  EXPECT_THAT(Reasons(), ElementsAre(Pair(kSecond, "")));
  Write("rescan", "1");
  Refresh();
  EXPECT_THAT(Reasons(), ElementsAre(Pair(kFirst, ""), Pair(kSecond, "")));
  EXPECT_THAT(DriverOf(kFirst), Eq("vfio-pci"));
}

TEST_F(DeviceInventoryTest, DeviceThatIsToGoIsLeftOutWhileAMachineHoldsIt) {
  Start();
  const auto machine = Attach(kSecond);
  Write("devices/0000:02:00.0/remove", "1");
  Refresh();
  EXPECT_THAT(Reasons(), IsEmpty());
}

TEST_F(DeviceInventoryTest, WhatAMachineUsesKeepsWhatWasFound) {
  Start();
  const std::vector<DeviceFacts> before = inventory_->Devices();
  const auto machine = Attach(kSecond);
  Refresh();
  EXPECT_THAT(inventory_->Devices(), Eq(before));
}

TEST_F(DeviceInventoryTest, UnreadableSysfsLeavesAllAsItWas) {
  Start();
  syscalls_.FailPath("/sys/bus/pci/devices", EIO);
  EXPECT_FALSE(inventory_->Refresh(now_).ok());
  EXPECT_THAT(Reasons(), ElementsAre(Pair(kSecond, "")));
}

TEST_F(DeviceInventoryTest, FailedResetQuarantinesUntilOneSucceeds) {
  Start();
  inventory_->TakeReset(kSecond, kResetFailed, now_);
  ASSERT_THAT(Reasons(), ElementsAre(Pair(kSecond, "DEVICE_QUARANTINED")));
  EXPECT_THAT(inventory_->Devices()[0].capabilities.message,
              AllOf(HasSubstr("does not come back"), HasSubstr("power-cycle")));
  EXPECT_THAT(inventory_->RetryResets(now_), IsEmpty());

  syscalls_.FailPath("/sys/bus/pci/devices/0000:02:00.0/reset", ENOTTY);
  now_ = *inventory_->NextRetry();
  EXPECT_THAT(inventory_->RetryResets(now_), SizeIs(1));
  EXPECT_THAT(Reasons(), ElementsAre(Pair(kSecond, "DEVICE_QUARANTINED")));
  syscalls_.Reset();
  now_ = *inventory_->NextRetry();
  EXPECT_THAT(inventory_->RetryResets(now_), ElementsAre(absl::OkStatus()));
  EXPECT_THAT(Reasons(), ElementsAre(Pair(kSecond, "")));
  EXPECT_THAT(inventory_->NextRetry(), Eq(std::nullopt));
}

TEST_F(DeviceInventoryTest, QuarantinedDeviceInUseIsNotResetUnderItsUser) {
  Start();
  inventory_->TakeReset(kSecond, kResetFailed, now_);
  const auto machine = Attach(kSecond);
  now_ = *inventory_->NextRetry();
  EXPECT_THAT(inventory_->RetryResets(now_), IsEmpty());
  inventory_->TakeReset(kSecond, absl::OkStatus(), now_);
  EXPECT_THAT(Reasons(), ElementsAre(Pair(kSecond, "")));
}

TEST_F(DeviceInventoryTest, DeviceWithoutResetIsNotQuarantined) {
  Start();
  inventory_->TakeReset(kSecond, absl::UnimplementedError("it has none"), now_);
  EXPECT_THAT(Reasons(), ElementsAre(Pair(kSecond, "")));
}

TEST_F(DeviceInventoryTest, DeviceThatWasPulledOutLeavesItsQuarantineBehind) {
  Start();
  inventory_->TakeReset(kSecond, kResetFailed, now_);
  Write("devices/0000:02:00.0/remove", "1");
  Refresh();
  Write("rescan", "1");
  Refresh();
  EXPECT_THAT(Reasons(), ElementsAre(Pair(kSecond, "")));
}

// Virtual functions are devices like others.
class VirtualFunctionInventoryTest : public DeviceInventoryTest {
 protected:
  static kernel::SimMachine Machine() {
    kernel::SimMachine machine = HostMachine();
    machine.devices[1].bdf = "0000:01:00.1";
    machine.devices[1].device_id = 0x0b26;
    machine.devices[1].driver = "idxd";
    machine.devices[1].physical_function = kFirst;
    return machine;
  }
  VirtualFunctionInventoryTest() : DeviceInventoryTest(Machine()) {}
};

TEST_F(VirtualFunctionInventoryTest, OneThatAppearsIsPreparedAndNamesItsPhysicalFunction) {
  Start({"1234:0b26"});
  EXPECT_THAT(Reasons(), IsEmpty());
  Write("devices/0000:01:00.0/sriov_numvfs", "1");
  Refresh();
  ASSERT_THAT(Reasons(), ElementsAre(Pair("0000:01:00.1", "")));
  EXPECT_THAT(inventory_->Devices()[0].function.physical_function, Eq(kFirst));
  Write("devices/0000:01:00.0/sriov_numvfs", "0");
  Refresh();
  EXPECT_THAT(Reasons(), IsEmpty());
}

}  // namespace
}  // namespace nestor::agent
