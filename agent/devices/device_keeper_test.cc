#include "agent/devices/device_keeper.h"

#include <condition_variable>

#include "agent/kernel/sim_kernel.h"
#include "agent/vfio/test_directory.h"
#include "agent/vfio/type1_backend.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;

// On the system's clock: the kernel's events, not time, are what is waited for.
class DeviceKeeperTest : public ::testing::Test {
 protected:
  DeviceKeeperTest() {
    auto inventory = std::make_unique<DeviceInventory>(
        *process_, backend_, PreparationRecord::Open(directory_.path(), "boot-1").value(),
        DeviceInventoryOptions());
    EXPECT_TRUE(inventory->Refresh(clock_.Now()).ok());
    keeper_ = std::make_unique<DeviceKeeper>(
        std::move(inventory), *events_, clock_,
        DeviceKeeperOptions{.rescan = absl::Minutes(10),
                            .on_change = [this](const auto& devices) { Keep(devices); },
                            .on_reset = {}});
    keeper_->Start();
  }

  void Keep(const std::vector<DeviceFacts>& devices) {
    const std::lock_guard lock(mutex_);
    reasons_.clear();
    for (const DeviceFacts& facts : devices) reasons_.push_back(facts.capabilities.reason);
    ++changes_;
    changed_.notify_all();
  }
  // The reason of each device once that many changes were told.
  std::vector<std::string> ReasonsAfter(int changes) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return changes_ >= changes; });
    return reasons_;
  }

  const TestDirectory directory_;
  kernel::SimKernel kernel_{kernel::DefaultSimMachine(2)};
  const std::unique_ptr<kernel::SimProcess> process_ = kernel_.CreateProcess();
  Type1Backend backend_{*process_};
  const std::unique_ptr<kernel::DeviceEvents> events_ = kernel_.WatchDevices();
  SystemClock clock_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> reasons_;
  int changes_ = 0;
  std::unique_ptr<DeviceKeeper> keeper_;
};

TEST_F(DeviceKeeperTest, FollowsTheKernelsEvents) {
  EXPECT_EQ(process_->WriteFile("/sys/bus/pci/devices/0000:01:00.0/remove", "1"), 0);
  EXPECT_THAT(ReasonsAfter(1), ElementsAre(""));
  EXPECT_EQ(process_->WriteFile("/sys/bus/pci/rescan", "1"), 0);
  EXPECT_THAT(ReasonsAfter(2), ElementsAre("", ""));
}

TEST_F(DeviceKeeperTest, TakesResetsOfMachines) {
  keeper_->OnReset("0000:01:00.0", absl::UnavailableError("it does not come back"));
  EXPECT_THAT(ReasonsAfter(1), ElementsAre("DEVICE_QUARANTINED", ""));
  keeper_->OnReset("0000:01:00.0", absl::OkStatus());
  EXPECT_THAT(ReasonsAfter(2), ElementsAre("", ""));
}

}  // namespace
}  // namespace nestor::agent
