#include "agent/vfio/type1_open.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "agent/core/kernel_error.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "agent/vfio/explained_open.h"
#include "agent/vfio/pci_inventory.h"
#include "agent/vfio/refusal.h"
#include "agent/vfio/type1_capability.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

namespace uapi = kernel::uapi;

constexpr absl::string_view kContainerPath = "/dev/vfio/vfio";

// A reply of VFIO_IOMMU_GET_INFO has a few hundred bytes; more than this is no reply.
constexpr uint32_t kMaxInfoSize = 64 * 1024;
// The reply may grow between asking for its size and asking for it.
constexpr int kMaxInfoCalls = 4;

constexpr uint32_t kNeededFeatures =
    uapi::IOMMU_NESTING_FEAT_SYSWIDE_PASID | uapi::IOMMU_NESTING_FEAT_BIND_PGTBL;

absl::StatusOr<VfioFile> OpenContainer(kernel::Syscalls& syscalls, const Bdf& device) {
  ASSIGN_OR_RETURN(VfioFile container,
                   OpenNode(syscalls, std::string(kContainerPath), device, NoVfio));
  ASSIGN_OR_RETURN(const int version, container.Ioctl({.operation = "VFIO_GET_API_VERSION",
                                                       .request = uapi::VFIO_GET_API_VERSION,
                                                       .on_signal = OnSignal::kRepeat}));
  if (version != uapi::VFIO_API_VERSION) {
    return Refuse("NO_VFIO", absl::StrCat("VFIO has version ", version,
                                          " of its interface, 0 is needed: boot another kernel"));
  }
  ASSIGN_OR_RETURN(const int known, container.Ioctl({.operation = "VFIO_CHECK_EXTENSION",
                                                     .request = uapi::VFIO_CHECK_EXTENSION,
                                                     .argument = uapi::VFIO_TYPE1_NESTING_IOMMU,
                                                     .on_signal = OnSignal::kRepeat}));
  if (known == 0) {
    return NestingUnsupportedByKernel("the kernel does not know VFIO_TYPE1_NESTING_IOMMU");
  }
  return container;
}

absl::Status GroupBusy(const PciFunction& function) {
  return NodeBusy(function, absl::StrCat("/dev/vfio/", function.iommu_group));
}

absl::Status CheckGroup(const VfioFile& group, const PciFunction& function) {
  uapi::vfio_group_status status = {};
  status.argsz = sizeof(status);
  RETURN_IF_ERROR(group
                      .Ioctl({.operation = "VFIO_GROUP_GET_STATUS",
                              .request = uapi::VFIO_GROUP_GET_STATUS,
                              .argument = AddressOf(status),
                              .on_signal = OnSignal::kRepeat})
                      .status());
  if ((status.flags & uapi::VFIO_GROUP_FLAGS_VIABLE) == 0) {
    return GroupNotViable(function, function.group_siblings);
  }
  if ((status.flags & uapi::VFIO_GROUP_FLAGS_CONTAINER_SET) != 0) return GroupBusy(function);
  return CheckAlone(function);
}

absl::StatusOr<VfioFile> OpenGroup(kernel::Syscalls& syscalls, const PciFunction& function) {
  absl::StatusOr<VfioFile> group =
      OpenNode(syscalls, absl::StrCat("/dev/vfio/", function.iommu_group), function.bdf, NoVfio);
  if (ErrnoOf(group.status()) == EBUSY) return BecauseOf(group.status(), GroupBusy(function));
  if (!group.ok()) return group.status();
  RETURN_IF_ERROR(CheckGroup(*group, function));
  return group;
}

// VFIO_SET_IOMMU has a different answer to the same lack in each age of Linux.
absl::Status ExplainSetIommu(const absl::Status& cause) {
  switch (ErrnoOf(cause)) {
    case ENODEV:
      return BecauseOf(cause, NestingUnsupportedByHardware("the IOMMU cannot nest"));
    case EINVAL:  // the IOMMU driver has no way to enable nesting (5.18 to 6.12)
    case EPERM:   // the same on SMMUv3 in 6.12
    case ENOTTY:  // built without CONFIG_VFIO_PASID
      return BecauseOf(
          cause, NestingUnsupportedByKernel("the kernel does not enable nesting for this IOMMU"));
    case ENOSPC:
      return BecauseOf(cause, Refuse("PASID_QUOTA",
                                     "the processes on this host have reserved all PASIDs: end "
                                     "some, or load vfio_pasid with a lower pasid_quota",
                                     absl::StatusCode::kResourceExhausted));
    default:
      return cause;
  }
}

absl::Status EnableNesting(const VfioFile& container, const VfioFile& group) {
  int32_t container_fd = container.fd();
  RETURN_IF_ERROR(group
                      .Ioctl({.operation = "VFIO_GROUP_SET_CONTAINER",
                              .request = uapi::VFIO_GROUP_SET_CONTAINER,
                              .argument = AddressOf(container_fd)})
                      .status());
  const absl::Status status = container
                                  .Ioctl({.operation = "VFIO_SET_IOMMU",
                                          .request = uapi::VFIO_SET_IOMMU,
                                          .argument = uapi::VFIO_TYPE1_NESTING_IOMMU})
                                  .status();
  return status.ok() ? status : ExplainSetIommu(status);
}

// One VFIO_IOMMU_GET_INFO into all of `reply`; the size that the kernel needs.
absl::StatusOr<uint32_t> GetInfo(const VfioFile& container, std::vector<uint8_t>& reply) {
  uapi::vfio_iommu_type1_info info = {};
  info.argsz = static_cast<uint32_t>(reply.size());
  std::memcpy(reply.data(), &info, sizeof(info));
  RETURN_IF_ERROR(container
                      .Ioctl({.operation = "VFIO_IOMMU_GET_INFO",
                              .request = uapi::VFIO_IOMMU_GET_INFO,
                              .argument = reinterpret_cast<uint64_t>(reply.data()),
                              .on_signal = OnSignal::kRepeat})
                      .status());
  std::memcpy(&info, reply.data(), sizeof(info));
  return info.argsz;
}

absl::StatusOr<std::vector<uint8_t>> ReadInfo(const VfioFile& container) {
  std::vector<uint8_t> reply(sizeof(uapi::vfio_iommu_type1_info));
  for (int call = 0; call < kMaxInfoCalls; ++call) {
    ASSIGN_OR_RETURN(const uint32_t needed, GetInfo(container, reply));
    if (needed <= reply.size()) return reply;
    if (needed > kMaxInfoSize) break;
    reply.assign(needed, 0);
  }
  return absl::DataLossError("VFIO_IOMMU_GET_INFO never says all");
}

absl::StatusOr<NestingCapability> ReadCapability(const VfioFile& container) {
  const absl::StatusOr<std::vector<uint8_t>> info = ReadInfo(container);
  // The series' answer where an IOMMU driver has nothing to say of its stage 1 (SMMU).
  if (ErrnoOf(info.status()) == ENOENT) {
    return BecauseOf(info.status(),
                     NestingUnsupportedByHardware("the IOMMU driver reports no stage-1 format"));
  }
  if (GetKernelError(info.status()).has_value()) return info.status();
  absl::StatusOr<NestingCapability> capability =
      info.ok() ? ParseNestingCapability(*info) : info.status();
  if (!capability.ok()) return NestingUnsupportedByKernel(capability.status().message());
  return capability;
}

// A request of size 0, which a kernel that knows the call refuses before it looks further.
absl::Status ConfirmCall(const VfioFile& container, const char* operation, uint64_t request) {
  uint64_t too_small[2] = {};
  const absl::Status status = container
                                  .Ioctl({.operation = operation,
                                          .request = request,
                                          .argument = AddressOf(too_small),
                                          .on_signal = OnSignal::kRepeat})
                                  .status();
  if (ErrnoOf(status) == EINVAL) return absl::OkStatus();
  const absl::Status refusal = NestingUnsupportedByKernel(
      absl::StrCat("the kernel reports nesting, but does not know ", operation));
  return status.ok() ? refusal : BecauseOf(status, refusal);
}

absl::Status CheckPasids(const NestingCapability& capability, const PciFunction& function) {
  if (capability.pasid_bits == 0) return IommuWithoutPasids(function.bdf);
  return CheckPasidWidth(function);
}

// Linux binds five-level tables only where the host's processors have them as well.
bool HostHasFiveLevels(kernel::Syscalls& syscalls) {
  std::string processors;
  return syscalls.ReadFile("/proc/cpuinfo", &processors) >= 0 &&
         absl::StrContains(processors, " la57");
}

absl::StatusOr<DeviceCapabilities> Usable(kernel::Syscalls& syscalls,
                                          const NestingCapability& capability,
                                          const PciFunction& function) {
  if (capability.format != uapi::IOMMU_PASID_FORMAT_INTEL_VTD ||
      (capability.features & kNeededFeatures) != kNeededFeatures) {
    return NestingUnsupportedByHardware("the IOMMU takes no VT-d page tables for PASIDs");
  }
  RETURN_IF_ERROR(CheckPasids(capability, function));
  const uint64_t cap = capability.capability_register;
  const uint64_t ecap = capability.extended_capability_register;
  DeviceCapabilities usable;
  usable.granularity = NestGranularity::kPasid;
  usable.pasid_bits = std::min(capability.pasid_bits, kVtdPasidBits);
  usable.address_width = capability.address_width;
  usable.five_level = (cap & uapi::VTD_CAP_FL5LP) != 0 && HostHasFiveLevels(syscalls);
  usable.supervisor_request = (ecap & uapi::VTD_ECAP_SRS) != 0;
  usable.extended_access_flag = (ecap & uapi::VTD_ECAP_EAFS) != 0;
  return usable;
}

}  // namespace

absl::StatusOr<NestingGroup> OpenNestingGroup(kernel::Syscalls& syscalls, const Bdf& device) {
  ASSIGN_OR_RETURN(const PciFunction function, FindVfioFunction(syscalls, device));
  NestingGroup opened;
  ASSIGN_OR_RETURN(opened.container, OpenContainer(syscalls, device));
  ASSIGN_OR_RETURN(opened.group, OpenGroup(syscalls, function));
  RETURN_IF_ERROR(EnableNesting(opened.container, opened.group));
  ASSIGN_OR_RETURN(const NestingCapability capability, ReadCapability(opened.container));
  RETURN_IF_ERROR(
      ConfirmCall(opened.container, "VFIO_IOMMU_PASID_REQUEST", uapi::VFIO_IOMMU_PASID_REQUEST));
  RETURN_IF_ERROR(
      ConfirmCall(opened.container, "VFIO_IOMMU_NESTING_OP", uapi::VFIO_IOMMU_NESTING_OP));
  ASSIGN_OR_RETURN(opened.capabilities, Usable(syscalls, capability, function));
  return opened;
}

}  // namespace nestor::agent
