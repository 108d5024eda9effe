#include "agent/vfio/memory_lock.h"

#include "agent/core/kernel_error.h"
#include "agent/vfio/test_machine.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::AllOf;
using ::testing::Eq;
using ::testing::HasSubstr;

kernel::SimMachine MachineThatMayLock(uint64_t bytes) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(2);
  machine.memory_lock_limit = bytes;
  return machine;
}

TEST(MemoryLockTest, LimitIsThatOfTheProcess) {
  kernel::SimKernel limited(MachineThatMayLock(8 << 20));
  EXPECT_THAT(ReadMemoryLockLimit(*limited.CreateProcess()), Eq(MemoryLockLimit{false, 8 << 20}));
  kernel::SimKernel unlimited(kernel::DefaultSimMachine(1));
  EXPECT_THAT(ReadMemoryLockLimit(*unlimited.CreateProcess()),
              Eq(MemoryLockLimit{true, std::nullopt}));
}

TEST(MemoryLockTest, OnlyAKnownLimitRefuses) {
  EXPECT_TRUE(CheckMemoryLock({false, 8 << 20}, 8 << 20).ok());
  EXPECT_TRUE(CheckMemoryLock({true, 8 << 20}, 9 << 20).ok());
  EXPECT_TRUE(CheckMemoryLock({}, 9 << 20).ok());
  const absl::Status status = CheckMemoryLock({false, 8 << 20}, 9 << 20);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(GetReason(status), Eq("MEMLOCK_LOW"));
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("8 MiB"), HasSubstr("9 MiB"), HasSubstr("LimitMEMLOCK=infinity")));
}

TEST(MemoryLockTest, GuestMemoryBeyondTheLimitIsRefusedBeforeTheCall) {
  SimTestMachine machine(MachineThatMayLock(64 << 10));
  const auto space = machine.backend().CreateAddressSpace().value();
  for (const Bdf& device : machine.devices()) ASSERT_TRUE(space->Attach(device).ok());
  EXPECT_TRUE(space->Map(machine.devices()[0], machine.memory()).ok());
  // The second device locks the same memory once more.
  const absl::Status status = space->Map(machine.devices()[1], machine.memory());
  EXPECT_THAT(GetReason(status), Eq("MEMLOCK_LOW"));
  EXPECT_THAT(GetKernelError(status), Eq(std::nullopt));
}

}  // namespace
}  // namespace nestor::agent
