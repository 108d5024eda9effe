// What probing makes of every answer that a kernel gives.
#include "agent/vfio/iommufd_open.h"

#include <cerrno>

#include "agent/core/kernel_error.h"
#include "agent/vfio/iommufd_backend.h"
#include "agent/vfio/test_iommufd_kernel.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::Contains;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

namespace uapi = kernel::uapi;

constexpr char kDevice[] = "0000:01:00.0";

bool HasFlag(const TestIommufdKernel::Call& call, uint32_t flag) {
  return (call.bytes.at(4) & flag) != 0;
}
bool IsPasidAttach(const TestIommufdKernel::Call& call) {
  return call.request == uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT && HasFlag(call, 1);
}

class IommufdProbeTest : public testing::Test {
 protected:
  absl::StatusOr<DeviceCapabilities> Probe() { return backend_.Probe(kDevice); }
  // The reason of an answer that the device cannot nest; everything is closed again.
  std::string Reason() {
    const absl::StatusOr<DeviceCapabilities> found = Probe();
    EXPECT_TRUE(found.ok()) << found.status();
    EXPECT_THAT(kernel_.open_files, Eq(0));
    if (!found.ok()) return "";
    EXPECT_THAT(found->granularity, Eq(NestGranularity::kNone));
    EXPECT_THAT(found->message, Not(IsEmpty()));
    return found->reason;
  }
  // The device can be bound as a whole only, and is told why.
  void ExpectRidOnly(const std::string& why) {
    const absl::StatusOr<DeviceCapabilities> found = Probe();
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_THAT(found->granularity, Eq(NestGranularity::kRid));
    EXPECT_TRUE(found->binds_device);
    EXPECT_THAT(found->pasid_bits, Eq(0U));
    EXPECT_THAT(found->reason, IsEmpty());
    EXPECT_THAT(found->message, HasSubstr(why));
  }

  TestIommufdKernel kernel_;
  IommufdBackend backend_{kernel_};
};

TEST_F(IommufdProbeTest, VtdWithEverythingNestsPasidsAndTheDevice) {
  const absl::StatusOr<DeviceCapabilities> found = Probe();
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_THAT(*found, Eq(DeviceCapabilities{.granularity = NestGranularity::kPasid,
                                            .format = PageTableFormat::kVtdS1,
                                            .binds_device = true,
                                            .pasid_bits = 20,
                                            .address_width = 48,
                                            .five_level = true,
                                            .supervisor_request = true,
                                            .extended_access_flag = true,
                                            .reason = "",
                                            .message = ""}));
  EXPECT_THAT(kernel_.open_files, Eq(0));
}

TEST_F(IommufdProbeTest, EverythingMadeIsDestroyedAndNothingIsAttached) {
  ASSERT_TRUE(Probe().ok());
  // IOAS, two parents, one nested table.
  EXPECT_THAT(kernel_.Sent(uapi::IOMMU_DESTROY).size(), Eq(4U));
  EXPECT_THAT(kernel_.Sent(uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT),
              testing::ElementsAre("10000000 01000000 00000000 01000000"));
}

TEST_F(IommufdProbeTest, FeaturesComeFromTheRegisters) {
  kernel_.registers = {};
  const DeviceCapabilities found = *Probe();
  EXPECT_FALSE(found.five_level);
  EXPECT_FALSE(found.supervisor_request);
  EXPECT_FALSE(found.extended_access_flag);
}

// For such a device the kernel answers 0 to an attach and programs nothing.
TEST_F(IommufdProbeTest, WidthZeroMeansNoPasidsWithoutTryingOne) {
  kernel_.pasid_bits = 0;
  ExpectRidOnly("no PASIDs of the device");
  EXPECT_THAT(kernel_.calls, Not(Contains(testing::Truly(IsPasidAttach))));
}

// Stable kernels of 6.12 report the width.
TEST_F(IommufdProbeTest, WidthAloneIsNoPasidSupport) {
  kernel_.answer = [](const auto& call) {
    return call.request == uapi::IOMMU_HWPT_ALLOC && HasFlag(call, 8) ? -EOPNOTSUPP : 0;
  };
  ExpectRidOnly("6.15");
}

TEST_F(IommufdProbeTest, KernelThatDoesNotKnowThePasidFlagBindsTheDevice) {
  kernel_.answer = [](const auto& call) { return IsPasidAttach(call) ? -EINVAL : 0; };
  ExpectRidOnly("attaches no PASIDs: Linux");
}

TEST_F(IommufdProbeTest, DriverWithoutPasidsBindsTheDevice) {
  kernel_.answer = [](const auto& call) { return IsPasidAttach(call) ? -EOPNOTSUPP : 0; };
  ExpectRidOnly("VFIO driver");
}

TEST_F(IommufdProbeTest, SmmuBindsTheDeviceThroughAViommu) {
  kernel_.hardware_type = uapi::IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
  ExpectRidOnly("");
  EXPECT_THAT(Probe()->format, Eq(PageTableFormat::kArmSmmuV3));
  EXPECT_THAT(kernel_.calls, Not(Contains(testing::Truly(IsPasidAttach))));
  // Bus 1, device 0, function 0.
  EXPECT_THAT(kernel_.Sent(uapi::IOMMU_VDEVICE_ALLOC).front().substr(36), Eq("00010000 00000000"));
}

TEST_F(IommufdProbeTest, SmmuNeedsAKernelWithViommus) {
  kernel_.hardware_type = uapi::IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
  kernel_.Fail(uapi::IOMMU_VIOMMU_ALLOC, ENOTTY);
  EXPECT_THAT(Reason(), Eq("NESTING_UNSUPPORTED_KERNEL"));
}

TEST_F(IommufdProbeTest, SmmuWithoutViommusCannotNest) {
  kernel_.hardware_type = uapi::IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
  kernel_.answer = [](const auto& call) {
    if (call.request != uapi::IOMMU_VIOMMU_ALLOC) return 0;
    return call.bytes.size() == sizeof(uapi::iommu_viommu_alloc) ? -EOPNOTSUPP : -EINVAL;
  };
  EXPECT_THAT(Reason(), Eq("NESTING_UNSUPPORTED_HARDWARE"));
}

TEST_F(IommufdProbeTest, AmdIsToldApart) {
  kernel_.hardware_type = uapi::IOMMU_HW_INFO_TYPE_AMD;
  EXPECT_THAT(Reason(), Eq("NESTING_UNSUPPORTED_KERNEL"));
  EXPECT_THAT(Probe()->message, HasSubstr("AMD"));
}

TEST_F(IommufdProbeTest, UnknownHardwareCannotNest) {
  kernel_.hardware_type = 77;
  EXPECT_THAT(Reason(), Eq("NESTING_UNSUPPORTED_HARDWARE"));
}

// As of SMMUv3 before Linux 6.13.
TEST_F(IommufdProbeTest, DriverThatSaysNothingMeansKernel) {
  kernel_.hardware_type = uapi::IOMMU_HW_INFO_TYPE_NONE;
  EXPECT_THAT(Reason(), Eq("NESTING_UNSUPPORTED_KERNEL"));
}

TEST_F(IommufdProbeTest, NestParentRefusedMeansHardware) {
  kernel_.Fail(uapi::IOMMU_HWPT_ALLOC, EOPNOTSUPP);
  EXPECT_THAT(Reason(), Eq("NESTING_UNSUPPORTED_HARDWARE"));
}

TEST_F(IommufdProbeTest, CallUnknownMeansKernel) {
  kernel_.Fail(uapi::IOMMU_HWPT_ALLOC, ENOTTY);
  EXPECT_THAT(Reason(), Eq("NESTING_UNSUPPORTED_KERNEL"));
}

TEST_F(IommufdProbeTest, KernelWithoutInvalidationIsRefused) {
  kernel_.Fail(uapi::IOMMU_HWPT_INVALIDATE, ENOTTY);
  EXPECT_THAT(Reason(), Eq("NESTING_UNSUPPORTED_KERNEL"));
}

TEST_F(IommufdProbeTest, OtherErrorIsNoAnswer) {
  kernel_.Fail(uapi::IOMMU_HWPT_ALLOC, ENOMEM);
  EXPECT_TRUE(absl::IsResourceExhausted(Probe().status()));
}

TEST_F(IommufdProbeTest, HostWithoutIommufdIsTold) {
  kernel_.open_errors["/dev/iommu"] = ENOENT;
  EXPECT_THAT(Reason(), Eq("NO_IOMMUFD"));
}

TEST_F(IommufdProbeTest, KernelWithoutDeviceFilesIsTold) {
  kernel_.open_errors["/sys/bus/pci/devices/0000:01:00.0/vfio-dev"] = ENOENT;
  EXPECT_THAT(Reason(), Eq("NO_IOMMUFD"));
}

TEST_F(IommufdProbeTest, MissingRightIsAnError) {
  kernel_.open_errors["/dev/vfio/devices/vfio7"] = EACCES;
  EXPECT_TRUE(absl::IsPermissionDenied(Probe().status()));
  EXPECT_THAT(GetReason(Probe().status()), Eq("PERMISSION"));
  EXPECT_THAT(kernel_.open_files, Eq(0));
}

struct BindErrorCase {
  int error;
  absl::StatusCode code;  // of Attach
  const char* reason;
};

class IommufdBindErrorTest : public testing::TestWithParam<BindErrorCase> {};

TEST_P(IommufdBindErrorTest, IsExplained) {
  TestIommufdKernel kernel;
  IommufdBackend backend(kernel);
  kernel.Fail(uapi::VFIO_DEVICE_BIND_IOMMUFD, GetParam().error);
  const absl::Status status = (*backend.CreateAddressSpace())->Attach(kDevice);
  EXPECT_THAT(status.code(), Eq(GetParam().code)) << status;
  EXPECT_THAT(GetReason(status), Eq(GetParam().reason));
  EXPECT_THAT(kernel.open_files, Eq(0));
}

INSTANTIATE_TEST_SUITE_P(
    All, IommufdBindErrorTest,
    testing::Values(BindErrorCase{EBUSY, absl::StatusCode::kUnavailable, "GROUP_BUSY"},
                    BindErrorCase{EINVAL, absl::StatusCode::kUnavailable, "GROUP_BUSY"},
                    BindErrorCase{EPERM, absl::StatusCode::kFailedPrecondition, "GROUP_NOT_VIABLE"},
                    BindErrorCase{EACCES, absl::StatusCode::kPermissionDenied, "PERMISSION"},
                    BindErrorCase{EIO, absl::StatusCode::kInternal, ""}),
    [](const auto& row) { return ErrnoName(row.param.error); });

}  // namespace
}  // namespace nestor::agent
