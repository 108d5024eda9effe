// Each system call in the life of a virtual machine fails once, with each errno that the
// kernel's interfaces know: the machine comes to where it should be, its answers say what the
// kernel holds, and in the end nothing is left there.
#include <cerrno>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "agent/shim/shim_core_fixture.h"
#include "agent/shim/step_executor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fault/fault_machine.h"

namespace nestor::fault {
namespace {

using namespace nestor::agent;  // NOLINT: the machine under test
using ::testing::Eq;
using ::testing::IsEmpty;

// Of DefaultSimMachine.
constexpr char kFirst[] = "0000:01:00.0";
constexpr char kSecond[] = "0000:02:00.0";

// The errnos of VFIO's type1 and of iommufd, of open and of sysfs.
constexpr int kErrnos[] = {EPERM,  ENOENT,    EINTR,      EIO,       ENXIO,  E2BIG,      EBADF,
                           EAGAIN, ENOMEM,    EACCES,     EFAULT,    EBUSY,  EEXIST,     ENODEV,
                           EINVAL, ENFILE,    EMFILE,     ENOTTY,    ENOSPC, EADDRINUSE, EMSGSIZE,
                           ERANGE, EOVERFLOW, EOPNOTSUPP, ETIMEDOUT, 524};

// A machine of two devices whose client and guest insist: what failed for good is asked for
// anew, as they would.
class Life : public ShimCoreFixture {
 public:
  explicit Life(const Interface& its)
      : ShimCoreFixture(FaultMachine(its).backend().replace_has_gap()), machine_(its) {}
  void TestBody() override {}

  // Every step of every kind; whether the call that was to fail was reached.
  bool Live(int failing_call, int error_number) {
    space_ = machine_.backend().CreateAddressSpace().value();
    machine_.syscalls().FailCall(failing_call, error_number);
    AttachAndMap();
    BindAndReplace();
    ResetAndBindAgain();
    End();
    return machine_.syscalls().calls() >= failing_call;
  }

 private:
  void AttachAndMap() {
    Tell(Machine(1, {kFirst, kSecond}));
    Run();
    for (const char* device : {kFirst, kSecond}) {
      // A monitor that connects has a failed attach tried anew, and comes again if refused.
      core_.PrepareMonitor(device);
      Run();
      if (!core_.ConnectMonitor(device, "boot-1", now_).ok()) {
        core_.PrepareMonitor(device);
        Run();
        Connect(device);
      }
      MapInsisting(device);
    }
    ASSERT_EQ(core_.held().devices.size(), 2U);
    ASSERT_EQ(core_.held().memory.size(), 2U);
  }

  void MapInsisting(const std::string& device) {
    Map(device, Memory());
    Run();
    if (core_.MapOutcome(device, Memory())->ok()) return;
    ASSERT_TRUE(core_.UnmapMemory(device, 0, FaultMachine::kMemorySize, now_).ok());
    Run();
    Map(device, Memory());
    Run();
  }

  void BindAndReplace() {
    bindings_ = {Allowing(Binding("one", 5, 0x1000, kFirst)),
                 Allowing(Binding("two", 6, 0x2000, kSecond)),
                 Allowing(Binding("three", 7, 0x3000, kFirst))};
    for (const char* uid : {"one", "two", "three"}) BindInsisting(uid);
    NewRoot("one", 0x4000);
    ExpectBound({{{kFirst, 5}, 0x4000}, {{kSecond, 6}, 0x2000}, {{kFirst, 7}, 0x3000}});
    Tell({Absent(Find("three"))});
    Run();
    ExpectBound({{{kFirst, 5}, 0x4000}, {{kSecond, 6}, 0x2000}});
  }

  // A guest tries a reset that failed again.
  void ResetAndBindAgain() {
    for (int attempt = 0; attempt < 2; ++attempt) {
      ASSERT_TRUE(core_.Reset(kFirst, "boot-" + std::to_string(2 + attempt), now_).ok());
      Run();
      if (core_.ResetOutcome(kFirst)->ok()) break;
    }
    EXPECT_EQ(core_.ResetOutcome(kFirst), absl::OkStatus());
    ExpectBound({});
    NewRoot("two", 0x5000);
    ExpectBound({{{kSecond, 6}, 0x5000}});
  }

  void End() {
    core_.DisconnectMonitor(kFirst, now_);
    core_.DisconnectMonitor(kSecond, now_);
    Run();
    EXPECT_THAT(core_.held().memory, IsEmpty());
    v1::DesiredVirtualMachine absent = Machine(2, {});
    absent.set_absent(true);
    Tell(absent);
    Run();
    EXPECT_TRUE(core_.HoldsNothing());
    EXPECT_TRUE(MachineAnswer().absent());
    space_.reset();
    EXPECT_TRUE(machine_.HoldsNothing());
  }

  static v1::DesiredBinding Allowing(v1::DesiredBinding binding) {
    binding.set_allow_translation_gap(true);
    return binding;
  }
  MemoryRegion Memory() const {
    return {
        .guest_address = 0, .size = FaultMachine::kMemorySize, .user_address = machine_.memory()};
  }
  v1::DesiredBinding& Find(const std::string& uid) {
    for (v1::DesiredBinding& binding : bindings_) {
      if (binding.uid() == uid) return binding;
    }
    ADD_FAILURE() << uid;
    return bindings_.front();
  }
  void NewRoot(const std::string& uid, uint64_t root) {
    Find(uid) = NextGeneration(Find(uid), root);
    BindInsisting(uid);
  }

  // What failed for good waits for a new generation, which its client makes.
  void BindInsisting(const std::string& uid) {
    for (int attempt = 0; attempt < 2; ++attempt) {
      v1::DesiredBinding& binding = Find(uid);
      Tell({binding});
      Run();
      Answers();
      ExpectAnswerIsTrue(binding);
      if (last_.outcome() == v1::Result::OUTCOME_PROGRAMMED) return;
      ASSERT_EQ(last_.failure().kind(), v1::Failure::KIND_PERMANENT) << last_.DebugString();
      binding = NextGeneration(binding, binding.page_table().root());
    }
    EXPECT_EQ(last_.outcome(), v1::Result::OUTCOME_PROGRAMMED) << last_.DebugString();
  }
  void ExpectAnswerIsTrue(const v1::DesiredBinding& binding) {
    ASSERT_EQ(last_.uid(), binding.uid());
    const auto roots = machine_.Roots();
    const auto bound = roots.find({binding.device(), binding.pasid()});
    EXPECT_EQ(last_.programmed_root(), bound == roots.end() ? 0 : bound->second)
        << last_.DebugString();
    EXPECT_EQ(last_.outcome() == v1::Result::OUTCOME_PROGRAMMED,
              bound != roots.end() && bound->second == binding.page_table().root());
  }
  void ExpectBound(const std::map<BindingKey, uint64_t>& roots) {
    EXPECT_THAT(machine_.Roots(), Eq(roots));
  }

  // Does steps, retries included, until there is nothing to wait for.
  void Run() {
    for (int steps = 0; steps < 1000; ++steps) {
      const std::optional<Step> step = core_.NextStep(now_);
      if (step.has_value()) {
        core_.FinishStep(Execute(*step, machine_.backend(), *space_), now_);
        ASSERT_EQ(core_.held(), space_->state()) << ToString(*step);
      } else if (core_.NextRetry().has_value()) {
        now_ = *core_.NextRetry();
      } else {
        return;
      }
    }
    FAIL() << "the machine never settles";
  }

  FaultMachine machine_;
  std::unique_ptr<AddressSpace> space_;
  std::vector<v1::DesiredBinding> bindings_;
};

class EverySyscallTest : public ::testing::TestWithParam<std::tuple<Interface, int>> {};

TEST_P(EverySyscallTest, FailsOnceAndTheMachineComesToWhereItShouldBe) {
  const auto& [its, error_number] = GetParam();
  bool was_reached = true;
  for (int number = 1; was_reached; ++number) {
    SCOPED_TRACE(testing::Message() << "call " << number);
    was_reached = Life(its).Live(number, error_number);
    if (HasFailure()) return;
    ASSERT_LT(number, 1000);
  }
}

INSTANTIATE_TEST_SUITE_P(OfEachInterface, EverySyscallTest,
                         testing::Combine(testing::ValuesIn(Interfaces()),
                                          testing::ValuesIn(kErrnos)),
                         [](const auto& row) {
                           return std::get<0>(row.param).name + "Errno" +
                                  std::to_string(std::get<1>(row.param));
                         });

}  // namespace
}  // namespace nestor::fault
