// No released kernel has the nesting of VFIO type1: how the agent says so on one, and that it
// leaves no trace.
#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <sstream>
#include <string>

#include "agent/check/check_command.h"
#include "agent/core/kernel_error.h"
#include "agent/kernel/test_container.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "agent/vfio/type1_backend.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernel/guest_machine.h"

namespace nestor::kernel_test {
namespace {

namespace uapi = kernel::uapi;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class NestingRefusalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (EduFunctions().empty()) GTEST_SKIP() << "no PCI";
    if (access("/dev/vfio/vfio", F_OK) != 0) GTEST_SKIP() << "no /dev/vfio/vfio";
  }

  agent::Type1Backend backend_{Linux()};
};

// VFIO_CHECK_EXTENSION's answer differs by the kernel's age; either way nesting is refused.
bool ClaimsNesting() {
  const int container = Linux().Open("/dev/vfio/vfio", O_RDWR);
  const int known =
      Linux().Ioctl(container, uapi::VFIO_CHECK_EXTENSION, uapi::VFIO_TYPE1_NESTING_IOMMU);
  Linux().Close(container);
  return known == 1;
}

std::string WhatThisKernelLacks() {
  return ClaimsNesting() ? "the kernel does not enable nesting for this IOMMU"
                         : "the kernel does not know VFIO_TYPE1_NESTING_IOMMU";
}

TEST_F(NestingRefusalTest, ProbeNamesTheKernelAndTheRemedy) {
  const auto capabilities = backend_.Probe(LoneEdu().bdf);
  ASSERT_TRUE(capabilities.ok()) << capabilities.status();
  EXPECT_EQ(capabilities->granularity, agent::NestGranularity::kNone);
  EXPECT_EQ(capabilities->reason, "NESTING_UNSUPPORTED_KERNEL");
  EXPECT_THAT(capabilities->message,
              AllOf(StartsWith(WhatThisKernelLacks()),
                    HasSubstr("boot a kernel built with VFIO_IOMMU_NESTING_OP; mainline Linux has "
                              "never had it")));
}

TEST_F(NestingRefusalTest, AttachIsRefusedForTheSameReason) {
  const auto address_space = backend_.CreateAddressSpace();
  ASSERT_TRUE(address_space.ok()) << address_space.status();
  const absl::Status status = (*address_space)->Attach(LoneEdu().bdf);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_EQ(agent::GetReason(status), "NESTING_UNSUPPORTED_KERNEL");
  EXPECT_THAT((*address_space)->state().devices, IsEmpty());
}

TEST_F(NestingRefusalTest, RefusalLeavesTheGroupToOthers) {
  const agent::PciFunction edu = LoneEdu();
  ASSERT_TRUE(backend_.Probe(edu.bdf).ok());
  kernel::TestContainer container(Linux(), edu.iommu_group);
  EXPECT_EQ(container.joined(), 0);
  EXPECT_EQ(container.SetIommu(uapi::VFIO_TYPE1v2_IOMMU), 0);
}

TEST_F(NestingRefusalTest, GroupInUseIsBusy) {
  if (!ClaimsNesting()) GTEST_SKIP() << "nesting is refused before the group is opened";
  const agent::PciFunction edu = LoneEdu();
  const kernel::TestContainer owner(Linux(), edu.iommu_group);
  const auto capabilities = backend_.Probe(edu.bdf);
  EXPECT_EQ(capabilities.status().code(), absl::StatusCode::kUnavailable) << capabilities.status();
  EXPECT_EQ(agent::GetReason(capabilities.status()), "GROUP_BUSY");
}

TEST_F(NestingRefusalTest, NeighbourInTheGroupIsNamed) {
  if (!ClaimsNesting()) GTEST_SKIP() << "nesting is refused before the group is opened";
  const std::vector<agent::PciFunction> functions = EduFunctions();
  ASSERT_EQ(functions.size(), 3u);
  const auto capabilities = backend_.Probe(functions[1].bdf);
  ASSERT_TRUE(capabilities.ok()) << capabilities.status();
  EXPECT_EQ(capabilities->reason, "GROUP_SHARED");
  EXPECT_THAT(capabilities->message, HasSubstr(functions[2].bdf));
}

TEST_F(NestingRefusalTest, DeviceOfNoVfioDriverIsNamed) {
  const auto capabilities = backend_.Probe("0000:00:00.0");
  ASSERT_TRUE(capabilities.ok()) << capabilities.status();
  EXPECT_EQ(capabilities->reason, "DRIVER_NOT_VFIO");
}

// What an operator sees; shown, since the documentation quotes it.
TEST_F(NestingRefusalTest, CheckCommandTellsTheOperator) {
  agent::CheckOptions options;
  options.selection.devices = {LoneEdu().bdf};
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(agent::RunCheckCommand(Linux(), backend_, options, out, err), 1);
  std::cout << out.str();
  EXPECT_THAT(err.str(), IsEmpty());
  EXPECT_THAT(out.str(), AllOf(HasSubstr("dmar0: VT-d"), HasSubstr("NESTING_UNSUPPORTED_KERNEL"),
                               HasSubstr(WhatThisKernelLacks()),
                               HasSubstr("0 of 1 devices are ready to nest")));
}

}  // namespace
}  // namespace nestor::kernel_test
