// Why a device is refused: one reason for each cause, the same from Probe and from Attach.
#include "agent/vfio/type1_open.h"

#include <cerrno>
#include <memory>
#include <ostream>
#include <string>

#include "absl/strings/match.h"
#include "agent/core/kernel_error.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "agent/vfio/test_machine.h"
#include "agent/vfio/test_syscalls.h"
#include "agent/vfio/type1_backend.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

namespace uapi = kernel::uapi;

using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Call = TestSyscalls::Call;

// Probes and attaches; both must refuse alike and leave nothing open. The reason.
std::string ReasonOfRefusal(SimTestMachine& machine, absl::StatusCode code,
                            std::string* message = nullptr) {
  const Bdf device = machine.devices().at(0);
  const absl::Status attached = (*machine.backend().CreateAddressSpace())->Attach(device);
  EXPECT_THAT(attached.code(), Eq(code)) << attached;
  const absl::StatusOr<DeviceCapabilities> probed = machine.backend().Probe(device);
  if (code == absl::StatusCode::kFailedPrecondition) {
    EXPECT_TRUE(probed.ok()) << probed.status();
    EXPECT_THAT(probed->granularity, Eq(NestGranularity::kNone));
    EXPECT_EQ(probed->reason, GetReason(attached));
    EXPECT_EQ(probed->message, attached.message());
  } else {
    EXPECT_EQ(probed.status(), attached);
  }
  EXPECT_THAT(machine.Held(), Eq(HeldByKernel{}));
  if (message != nullptr) *message = std::string(attached.message());
  return GetReason(attached);
}

// A kernel call that fails.

struct FailedCall {
  const char* name;
  const char* path;       // of the open that fails, or
  unsigned long request;  // NOLINT: kernel's type; of the ioctl that fails
  int error;
  absl::StatusCode code;
  const char* reason;
};
void PrintTo(const FailedCall& row, std::ostream* out) { *out << row.name; }
std::string NameOf(const testing::TestParamInfo<FailedCall>& row) { return row.param.name; }

class FailedCallTest : public testing::TestWithParam<FailedCall> {};

TEST_P(FailedCallTest, HasItsReasonAndKeepsTheErrno) {
  const FailedCall& row = GetParam();
  SimTestMachine machine;
  const std::string group_path = machine.group_path();
  const std::string path = std::string(row.path) == "group" ? group_path : row.path;
  machine.syscalls().Start([&](const Call& call) {
    const bool fails = path.empty() ? call.request == row.request : call.path == path;
    return fails ? TestSyscalls::Fail(row.error) : TestSyscalls::Pass();
  });
  std::string message;
  EXPECT_THAT(ReasonOfRefusal(machine, row.code, &message), Eq(row.reason));
  EXPECT_THAT(message, HasSubstr(ErrnoName(row.error)));
}

constexpr auto kFailed = absl::StatusCode::kFailedPrecondition;
constexpr auto kDenied = absl::StatusCode::kPermissionDenied;
constexpr const char* kContainer = "/dev/vfio/vfio";
constexpr const char* kKernel = "NESTING_UNSUPPORTED_KERNEL";
constexpr const char* kHardware = "NESTING_UNSUPPORTED_HARDWARE";

INSTANTIATE_TEST_SUITE_P(
    Type1, FailedCallTest,
    testing::Values(
        FailedCall{"ContainerAbsent", kContainer, 0, ENOENT, kFailed, "NO_VFIO"},
        FailedCall{"ContainerWithoutModule", kContainer, 0, ENODEV, kFailed, "NO_VFIO"},
        FailedCall{"ContainerForbidden", kContainer, 0, EACCES, kDenied, "PERMISSION"},
        FailedCall{"ContainerNotPermitted", kContainer, 0, EPERM, kDenied, "PERMISSION"},
        FailedCall{"ContainerWithoutFiles", kContainer, 0, EMFILE,
                   absl::StatusCode::kResourceExhausted, ""},
        FailedCall{"GroupAbsent", "group", 0, ENOENT, kFailed, "NO_VFIO"},
        FailedCall{"GroupForbidden", "group", 0, EACCES, kDenied, "PERMISSION"},
        FailedCall{"GroupOpen", "group", 0, EBUSY, absl::StatusCode::kUnavailable, "GROUP_BUSY"},
        FailedCall{"SetContainerBroken", "", uapi::VFIO_GROUP_SET_CONTAINER, EIO,
                   absl::StatusCode::kInternal, ""},
        FailedCall{"SetIommuHardware", "", uapi::VFIO_SET_IOMMU, ENODEV, kFailed, kHardware},
        FailedCall{"SetIommuNoCallback", "", uapi::VFIO_SET_IOMMU, EINVAL, kFailed, kKernel},
        FailedCall{"SetIommuSmmu", "", uapi::VFIO_SET_IOMMU, EPERM, kFailed, kKernel},
        FailedCall{"SetIommuNoPasidModule", "", uapi::VFIO_SET_IOMMU, ENOTTY, kFailed, kKernel},
        FailedCall{"SetIommuQuota", "", uapi::VFIO_SET_IOMMU, ENOSPC,
                   absl::StatusCode::kResourceExhausted, "PASID_QUOTA"},
        FailedCall{"SetIommuMemory", "", uapi::VFIO_SET_IOMMU, ENOMEM,
                   absl::StatusCode::kResourceExhausted, ""},
        FailedCall{"GetInfoWithoutFormat", "", uapi::VFIO_IOMMU_GET_INFO, ENOENT, kFailed,
                   kHardware},
        FailedCall{"GetInfoBroken", "", uapi::VFIO_IOMMU_GET_INFO, EFAULT,
                   absl::StatusCode::kInternal, ""},
        FailedCall{"PasidRequestUnknown", "", uapi::VFIO_IOMMU_PASID_REQUEST, ENOTTY, kFailed,
                   kKernel},
        FailedCall{"NestingOpUnknown", "", uapi::VFIO_IOMMU_NESTING_OP, ENOTTY, kFailed, kKernel}),
    NameOf);

// An answer that rules the device out.

TEST(OpenNestingGroupTest, OtherVersionOfVfioIsNoVfio) {
  SimTestMachine machine;
  machine.syscalls().Start([](const Call& call) {
    return call.request == uapi::VFIO_GET_API_VERSION ? TestSyscalls::Outcome{.answer = 1}
                                                      : TestSyscalls::Pass();
  });
  EXPECT_THAT(ReasonOfRefusal(machine, kFailed), Eq("NO_VFIO"));
}

TEST(OpenNestingGroupTest, GroupInAnotherContainerIsBusy) {
  SimTestMachine machine;
  machine.syscalls().Start([](const Call& call) {
    if (call.request != uapi::VFIO_GROUP_GET_STATUS) return TestSyscalls::Pass();
    TestSyscalls::ArgumentOf<uapi::vfio_group_status>(call).flags =
        uapi::VFIO_GROUP_FLAGS_VIABLE | uapi::VFIO_GROUP_FLAGS_CONTAINER_SET;
    return TestSyscalls::Outcome{.answer = 0, .is_made = false};
  });
  EXPECT_THAT(ReasonOfRefusal(machine, absl::StatusCode::kUnavailable), Eq("GROUP_BUSY"));
}

TEST(OpenNestingGroupTest, InfoThatNeverEndsIsNotFollowed) {
  SimTestMachine machine;
  machine.syscalls().Start([](const Call& call) {
    if (call.request != uapi::VFIO_IOMMU_GET_INFO) return TestSyscalls::Pass();
    TestSyscalls::ArgumentOf<uapi::vfio_iommu_type1_info>(call).argsz += 8;
    return TestSyscalls::Outcome{.answer = 0, .is_made = false};
  });
  EXPECT_THAT(ReasonOfRefusal(machine, kFailed), Eq(kKernel));
}

TEST(OpenNestingGroupTest, NestingCallsAreMadeOnlyAfterTheCapability) {
  SimTestMachine machine;
  ASSERT_TRUE(OpenNestingGroup(machine.syscalls(), machine.devices().at(0)).ok());
  bool has_info = false;
  for (const Call& call : machine.syscalls().calls()) {
    has_info |= call.request == uapi::VFIO_IOMMU_GET_INFO;
    const bool is_nesting_call = call.request == uapi::VFIO_IOMMU_PASID_REQUEST ||
                                 call.request == uapi::VFIO_IOMMU_NESTING_OP;
    EXPECT_FALSE(is_nesting_call && !has_info) << "call " << call.number;
  }
  EXPECT_TRUE(has_info);
}

// A machine that is not fit.

TEST(OpenNestingGroupTest, DeviceWithoutIommuIsNoIommuGroup) {
  SimTestMachine unfit;
  unfit.syscalls().Start([](const Call& call) {
    return call.name == "readlink" && absl::EndsWith(call.path, "/iommu_group")
               ? TestSyscalls::Fail(ENOENT)
               : TestSyscalls::Pass();
  });
  EXPECT_THAT(ReasonOfRefusal(unfit, kFailed), Eq("NO_IOMMU_GROUP"));
}

TEST(OpenNestingGroupTest, DeviceOfAHostDriverIsDriverNotVfio) {
  for (const char* driver : {"nvme", ""}) {
    kernel::SimMachine machine = kernel::DefaultSimMachine(1);
    machine.devices[0].driver = driver;
    SimTestMachine unfit(machine);
    std::string message;
    EXPECT_THAT(ReasonOfRefusal(unfit, kFailed, &message), Eq("DRIVER_NOT_VFIO"));
    EXPECT_THAT(message, HasSubstr("driverctl set-override 0000:01:00.0 vfio-pci"));
  }
}

TEST(OpenNestingGroupTest, GroupWithAHostDriverIsNotViableAndNamesTheSibling) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(2);
  machine.devices[1].iommu_group = machine.devices[0].iommu_group;
  machine.devices[1].driver = "nvme";
  SimTestMachine unfit(machine);
  std::string message;
  EXPECT_THAT(ReasonOfRefusal(unfit, kFailed, &message), Eq("GROUP_NOT_VIABLE"));
  EXPECT_THAT(message, HasSubstr("0000:02:00.0"));
}

TEST(OpenNestingGroupTest, GroupOfTwoForVfioIsShared) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(2);
  machine.devices[1].iommu_group = machine.devices[0].iommu_group;
  SimTestMachine unfit(machine);
  std::string message;
  EXPECT_THAT(ReasonOfRefusal(unfit, kFailed, &message), Eq("GROUP_SHARED"));
  EXPECT_THAT(message, HasSubstr("0000:02:00.0"));
}

TEST(OpenNestingGroupTest, MainlineKernelsDoNotNestAndAreNotAskedTo) {
  for (const auto personality :
       {kernel::SimPersonality::kLinux6_12, kernel::SimPersonality::kLinux7_2}) {
    kernel::SimMachine machine = kernel::DefaultSimMachine(1);
    machine.personality = personality;
    SimTestMachine unfit(machine);
    EXPECT_THAT(ReasonOfRefusal(unfit, kFailed), Eq(kKernel));
    EXPECT_THAT(unfit.syscalls().Arguments(uapi::VFIO_IOMMU_NESTING_OP), IsEmpty());
    EXPECT_THAT(unfit.syscalls().Arguments(uapi::VFIO_IOMMU_PASID_REQUEST), IsEmpty());
  }
}

TEST(OpenNestingGroupTest, KernelWithoutPasidSupportOfVfioDoesNotNest) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.iommu.vfio_pasid = false;
  SimTestMachine unfit(machine);
  EXPECT_THAT(ReasonOfRefusal(unfit, kFailed), Eq(kKernel));
}

TEST(OpenNestingGroupTest, HardwareWithoutNestingIsToldFromTheKernel) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.iommu.nesting = false;
  SimTestMachine without_nesting(machine);
  EXPECT_THAT(ReasonOfRefusal(without_nesting, kFailed), Eq(kHardware));

  machine = kernel::DefaultSimMachine(1);
  machine.iommu.nesting_format = uapi::IOMMU_PASID_FORMAT_NONE;
  SimTestMachine without_format(machine);
  EXPECT_THAT(ReasonOfRefusal(without_format, kFailed), Eq(kHardware));
}

TEST(OpenNestingGroupTest, HardwareWithoutABindingFeatureDoesNotNest) {
  for (const uint32_t missing :
       {uapi::IOMMU_NESTING_FEAT_SYSWIDE_PASID, uapi::IOMMU_NESTING_FEAT_BIND_PGTBL}) {
    kernel::SimMachine machine = kernel::DefaultSimMachine(1);
    machine.iommu.nesting_features &= ~missing;
    SimTestMachine unfit(machine);
    EXPECT_THAT(ReasonOfRefusal(unfit, kFailed), Eq(kHardware));
  }
}

TEST(OpenNestingGroupTest, IommuWithoutPasidsIsPasidUnsupported) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.iommu.pasid_bits = 0;
  SimTestMachine unfit(machine);
  EXPECT_THAT(ReasonOfRefusal(unfit, kFailed), Eq("PASID_UNSUPPORTED"));
}

TEST(OpenNestingGroupTest, DeviceOfFewerPasidBitsIsPasidUnsupported) {
  for (const uint32_t bits : {0U, 16U}) {
    kernel::SimMachine machine = kernel::DefaultSimMachine(1);
    machine.devices[0].pasid_bits = bits;
    SimTestMachine unfit(machine);
    EXPECT_THAT(ReasonOfRefusal(unfit, kFailed), Eq("PASID_UNSUPPORTED"));
  }
}

TEST(OpenNestingGroupTest, ProcessorsWithoutFiveLevelsTakeThemFromTheIommu) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.iommu.cpu_5_levels = false;
  SimTestMachine plain(machine);
  EXPECT_FALSE(plain.backend().Probe(machine.devices[0].bdf)->five_level);
}

TEST(OpenNestingGroupTest, HostWhosePasidsAreAllReservedIsPasidQuota) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(2);
  machine.iommu.pasid_quota = machine.iommu.pasid_capacity;
  SimTestMachine full(machine);
  const auto owner = full.NewProcess();
  const std::unique_ptr<AddressSpace> space = *owner->backend().CreateAddressSpace();
  ASSERT_TRUE(space->Attach(machine.devices[1].bdf).ok());
  const absl::Status status = full.backend().Probe(machine.devices[0].bdf).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(GetReason(status), Eq("PASID_QUOTA"));
}

TEST(OpenNestingGroupTest, CapabilitiesAreTheHardwares) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.iommu.address_width = 39;
  machine.iommu.first_level_5_levels = false;
  machine.iommu.supervisor_requests = false;
  machine.iommu.extended_accessed_flag = false;
  SimTestMachine plain(machine);
  EXPECT_THAT(*plain.backend().Probe(machine.devices[0].bdf),
              Eq(DeviceCapabilities{.granularity = NestGranularity::kPasid,
                                    .pasid_bits = 20,
                                    .address_width = 39,
                                    .five_level = false,
                                    .supervisor_request = false,
                                    .extended_access_flag = false,
                                    .reason = "",
                                    .message = ""}));
  SimTestMachine full;
  EXPECT_THAT(*full.backend().Probe(full.devices().at(0)),
              Eq(DeviceCapabilities{.granularity = NestGranularity::kPasid,
                                    .pasid_bits = 20,
                                    .address_width = 48,
                                    .five_level = true,
                                    .supervisor_request = true,
                                    .extended_access_flag = true,
                                    .reason = "",
                                    .message = ""}));
}

}  // namespace
}  // namespace nestor::agent
