// Each system call of preparing, watching, resetting and giving back a device fails once, with
// EINTR and EIO: the host comes to where it should be.
#include <cerrno>
#include <string>

#include "agent/devices/device_inventory.h"
#include "agent/vfio/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fault/fault_machine.h"

namespace nestor::fault {
namespace {

using namespace nestor::agent;  // NOLINT: the inventory under test
using ::testing::Eq;

constexpr char kDevice[] = "0000:01:00.0";
constexpr int kErrnos[] = {EINTR, EIO};

// A host whose first device belongs to a driver of its own.
Interface WithHostDriver(Interface its) {
  its.machine.devices[0].driver = "idxd";
  return its;
}

class Host {
 public:
  explicit Host(const Interface& its) : machine_(WithHostDriver(its)) {}

  // Every call that is made for devices; whether the one that was to fail was reached.
  bool Live(int failing_call, int error_number) {
    machine_.syscalls().FailCall(failing_call, error_number);
    Start({kDevice});
    SettlesAt({{kDevice, ""}, {kOther, ""}});
    Write("devices/0000:01:00.0/remove");
    SettlesAt({{kOther, ""}});
    Write("rescan");
    SettlesAt({{kDevice, ""}, {kOther, ""}});
    inventory_->TakeReset(kDevice, absl::UnavailableError("it does not come back"), now_);
    SettlesAt({{kDevice, ""}, {kOther, ""}});
    Start({});
    SettlesAt({{kOther, ""}});
    EXPECT_THAT(ReadPciFunction(*process_, kDevice)->driver, Eq("idxd"));
    const auto record = PreparationRecord::Open(directory_.path(), "boot-1");
    EXPECT_TRUE(record->entries().empty());
    EXPECT_TRUE(machine_.HoldsNothing());
    return machine_.syscalls().calls() >= failing_call;
  }

 private:
  static constexpr char kOther[] = "0000:02:00.0";

  // A new agent.
  void Start(const std::vector<std::string>& selected) {
    inventory_ = std::make_unique<DeviceInventory>(
        machine_.syscalls(), machine_.backend(),
        PreparationRecord::Open(directory_.path(), "boot-1").value(),
        DeviceInventoryOptions{.prepare = ParsePrepareSelection(selected).value(),
                               .prepare_backoff = {absl::Seconds(5), absl::Minutes(5)},
                               .reset_backoff = {absl::Seconds(1), absl::Minutes(1)}});
  }
  void Write(const std::string& attribute) {
    ASSERT_EQ(process_->WriteFile("/sys/bus/pci/" + attribute, "1"), 0);
  }
  // Looks as often as the agent would: at once, and after every time that something waits for.
  void SettlesAt(const std::vector<std::pair<Bdf, std::string>>& reasons) {
    for (int looks = 0; looks < 10; ++looks) {
      now_ += absl::Seconds(10);
      const bool has_looked = inventory_->Refresh(now_).ok();
      inventory_->RetryResets(now_);
      if (has_looked && Reasons() == reasons && !inventory_->NextRetry().has_value()) return;
    }
    EXPECT_THAT(Reasons(), Eq(reasons));
    EXPECT_THAT(inventory_->NextRetry(), Eq(std::nullopt));
  }
  std::vector<std::pair<Bdf, std::string>> Reasons() const {
    std::vector<std::pair<Bdf, std::string>> reasons;
    for (const DeviceFacts& facts : inventory_->Devices()) {
      reasons.emplace_back(facts.function.bdf, facts.capabilities.reason);
    }
    return reasons;
  }

  const TestDirectory directory_{"/dev/shm"};  // no disk: it is synced some thousand times
  FaultMachine machine_;
  const std::unique_ptr<kernel::SimProcess> process_ = machine_.kernel().CreateProcess();
  absl::Time now_ = absl::FromUnixSeconds(1000);
  std::unique_ptr<DeviceInventory> inventory_;
};

class PreparationTest : public ::testing::TestWithParam<int> {};

TEST_P(PreparationTest, FailsOnceAndTheHostComesToWhereItShouldBe) {
  bool was_reached = true;
  for (int number = 1; was_reached; ++number) {
    SCOPED_TRACE(testing::Message() << "call " << number);
    was_reached = Host(Interfaces().front()).Live(number, GetParam());
    if (HasFailure()) return;
    ASSERT_LT(number, 1000);
  }
}

INSTANTIATE_TEST_SUITE_P(OfEachErrno, PreparationTest, testing::ValuesIn(kErrnos),
                         [](const auto& row) { return "Errno" + std::to_string(row.param); });

}  // namespace
}  // namespace nestor::fault
