#include "agent/vfio/device_reset.h"

#include <cerrno>

#include "agent/core/kernel_error.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/vfio/test_syscalls.h"
#include "agent/vfio/type1_backend.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::Eq;

constexpr char kDevice[] = "0000:01:00.0";
constexpr char kReset[] = "/sys/bus/pci/devices/0000:01:00.0/reset";

class DeviceResetTest : public ::testing::Test {
 protected:
  explicit DeviceResetTest(bool has_reset = true)
      : kernel_(Machine(has_reset)), process_(kernel_.CreateProcess()), syscalls_(*process_) {}

  static kernel::SimMachine Machine(bool has_reset) {
    kernel::SimMachine machine = kernel::DefaultSimMachine(1);
    machine.devices[0].has_reset = has_reset;
    return machine;
  }
  absl::Status Reset() {
    return ResetUnusedFunction(syscalls_, ReadPciFunction(*process_, kDevice).value());
  }

  kernel::SimKernel kernel_;
  const std::unique_ptr<kernel::SimProcess> process_;
  TestSyscalls syscalls_;
};

TEST_F(DeviceResetTest, HoldsTheGroupMeanwhile) {
  int groups = 0;
  syscalls_.Start([&](const auto& call) {
    if (call.path == kReset) groups = kernel_.Statistics().groups;
    return TestSyscalls::Pass();
  });
  EXPECT_TRUE(Reset().ok());
  EXPECT_THAT(groups, Eq(1));
  EXPECT_THAT(kernel_.Statistics().descriptors, Eq(0));
}

TEST_F(DeviceResetTest, DeviceInUseIsLeftAlone) {
  Type1Backend backend(*process_);
  const auto owner = backend.CreateAddressSpace().value();
  ASSERT_TRUE(owner->Attach(kDevice).ok());
  syscalls_.Start();
  const absl::Status status = Reset();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(GetReason(status), Eq("GROUP_BUSY"));
}

TEST_F(DeviceResetTest, FailureIsTheKernels) {
  syscalls_.Start([](const auto& call) {
    return call.path == kReset ? TestSyscalls::Fail(ENOTTY) : TestSyscalls::Pass();
  });
  EXPECT_THAT(GetKernelError(Reset()), Eq(KernelError{"write", kReset, ENOTTY}));
  EXPECT_THAT(kernel_.Statistics().descriptors, Eq(0));
}

class DeviceWithoutResetTest : public DeviceResetTest {
 protected:
  DeviceWithoutResetTest() : DeviceResetTest(/*has_reset=*/false) {}
};

TEST_F(DeviceWithoutResetTest, IsToldApart) {
  EXPECT_TRUE(absl::IsUnimplemented(Reset()));
  Type1Backend backend(*process_);
  const auto owner = backend.CreateAddressSpace().value();
  ASSERT_TRUE(owner->Attach(kDevice).ok());
  EXPECT_TRUE(absl::IsUnimplemented(owner->Reset(kDevice)));
}

}  // namespace
}  // namespace nestor::agent
