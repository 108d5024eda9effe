#include "agent/vfio/iommufd_open.h"

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "agent/core/kernel_error.h"
#include "agent/kernel/uapi/iommufd.h"
#include "agent/vfio/explained_open.h"
#include "agent/vfio/refusal.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

namespace uapi = kernel::uapi;

constexpr char kIommuPath[] = "/dev/iommu";
constexpr uint32_t kAnyPasid = 1;
constexpr IommufdId kNoTable = 0;  // an id that no object ever has

absl::Status ExplainBind(const absl::Status& cause, const PciFunction& function) {
  switch (ErrnoOf(cause)) {
    case EBUSY:   // its group is open through /dev/vfio/{group}
    case EINVAL:  // open through another file
      return BecauseOf(cause, NodeBusy(function, absl::StrCat("/dev/vfio/", function.iommu_group,
                                                              " /dev/vfio/devices/*")));
    case EPERM:
      return BecauseOf(
          cause,
          Refuse("GROUP_NOT_VIABLE",
                 absl::StrCat("the kernel gives ", function.bdf,
                              " to nobody: enable interrupt remapping in the firmware, and "
                              "unbind what shares its IOMMU group from the host's drivers")));
    case EACCES:
      return BecauseOf(cause, Refuse("PERMISSION",
                                     absl::StrCat(function.bdf,
                                                  " is a virtual function whose physical function "
                                                  "demands a token: take that one from vfio-pci"),
                                     absl::StatusCode::kPermissionDenied));
    default:
      return cause;
  }
}

// A call that nesting needs was refused: not by the kernel in general, but for this IOMMU.
absl::Status ExplainNesting(const absl::Status& cause, absl::string_view what) {
  switch (ErrnoOf(cause)) {
    case EOPNOTSUPP:
      return BecauseOf(cause, IommufdNestingUnsupportedByHardware(what));
    case ENOTTY:
      return BecauseOf(cause, IommufdNestingUnsupportedByKernel(what));
    default:
      return cause;
  }
}

absl::StatusOr<Stage1Format> FindFormat(const IommufdHardware& hardware,
                                        absl::Span<const Stage1Format> formats) {
  for (const Stage1Format& format : formats) {
    if (format.hardware_type == hardware.type) return format;
  }
  if (hardware.type == uapi::IOMMU_HW_INFO_TYPE_AMD) {
    return IommufdNestingUnsupportedByKernel(
        "Linux declares nested page tables of AMD, but allocates none, as of 7.2");
  }
  if (hardware.type == uapi::IOMMU_HW_INFO_TYPE_NONE) {
    return IommufdNestingUnsupportedByKernel("the kernel's IOMMU driver tells of no nesting");
  }
  return IommufdNestingUnsupportedByHardware(
      absl::StrCat("IOMMUs of type ", hardware.type, " are not known here"));
}

// The opening of one device, step by step.
class Opening {
 public:
  Opening(Iommufd& iommufd, const PciFunction& function) : iommufd_(iommufd), function_(function) {}

  absl::StatusOr<IommufdNestParts> Run(kernel::Syscalls& syscalls, const IommufdSeams& seams) && {
    const bool has_viommus = iommufd_.HasViommus();
    ASSIGN_OR_RETURN(parts_.device, seams.open_device(syscalls, function_.bdf));
    const absl::StatusOr<IommufdId> device_id = parts_.device->Bind(iommufd_.fd());
    if (!device_id.ok()) return ExplainBind(device_id.status(), function_);
    parts_.device_id = *device_id;
    ASSIGN_OR_RETURN(hardware_, iommufd_.GetHardware(parts_.device_id));
    ASSIGN_OR_RETURN(parts_.format, FindFormat(hardware_, seams.formats));
    if (parts_.format.viommu_type != 0 && !has_viommus) {
      return IommufdNestingUnsupportedByKernel("the kernel has no vIOMMUs");
    }
    ASSIGN_OR_RETURN(const IommufdId ioas, iommufd_.AllocateIoas());
    parts_.ioas = IommufdObject(iommufd_, ioas);
    RETURN_IF_ERROR(AllocateParent());
    if (parts_.format.nests_pasids) RETURN_IF_ERROR(ProbePasids());
    if (parts_.format.viommu_type != 0) RETURN_IF_ERROR(AllocateViommu());
    RETURN_IF_ERROR(ProbeNesting());
    RETURN_IF_ERROR(Describe());
    return std::move(parts_);
  }

 private:
  absl::StatusOr<IommufdObject> Parent(uint32_t flags) {
    ASSIGN_OR_RETURN(const IommufdId id,
                     iommufd_.AllocateHwpt({.flags = uapi::IOMMU_HWPT_ALLOC_NEST_PARENT | flags,
                                            .device = parts_.device_id,
                                            .parent = parts_.ioas.id()}));
    return IommufdObject(iommufd_, id);
  }

  absl::Status AllocateParent() {
    absl::StatusOr<IommufdObject> parent = Parent(0);
    if (!parent.ok()) return ExplainNesting(parent.status(), "the IOMMU cannot nest");
    parts_.parent = *std::move(parent);
    return absl::OkStatus();
  }

  // Where PASIDs cannot be bound, the device itself still can; `message` says why.
  absl::Status ProbePasids() {
    if (hardware_.pasid_bits == 0) {
      parts_.capabilities.message =
          "the kernel enables no PASIDs of the device: it, each switch before it and the IOMMU "
          "must have them, with ACS on the whole way";
      return absl::OkStatus();
    }
    absl::StatusOr<IommufdObject> parent = Parent(uapi::IOMMU_HWPT_ALLOC_PASID);
    if (ErrnoOf(parent.status()) == EOPNOTSUPP) {
      parts_.capabilities.message =
          "the kernel makes no page tables for PASIDs of this IOMMU: Linux does from 6.15";
      return absl::OkStatus();
    }
    if (!parent.ok()) return parent.status();
    ASSIGN_OR_RETURN(parts_.capabilities.message, WhyNoPasidAttaches());
    if (!parts_.capabilities.message.empty()) return absl::OkStatus();
    parts_.parent = *std::move(parent);
    parts_.pasid_flag = uapi::IOMMU_HWPT_ALLOC_PASID;
    return absl::OkStatus();
  }

  // Attaches a PASID to a table that is not there. Empty: the kernel looked for the table, so
  // it takes the PASID.
  absl::StatusOr<std::string> WhyNoPasidAttaches() {
    const absl::Status status = parts_.device->Attach(kAnyPasid, kNoTable);
    switch (ErrnoOf(status)) {
      case ENOENT:
        return "";
      case EINVAL:  // what a kernel says of a flag that it does not know
        return "the kernel attaches no PASIDs: Linux does from 6.15";
      case EOPNOTSUPP:
        return "the device's VFIO driver attaches no PASIDs: use vfio-pci";
      default:
        break;
    }
    if (!status.ok()) return status;
    return "the kernel attaches PASIDs to whatever it is told";
  }

  // The guest's name of the device is only seen in commands that this agent does not pass on,
  // so it is the host's.
  absl::Status AllocateViommu() {
    const absl::StatusOr<IommufdId> viommu =
        iommufd_.AllocateViommu(parts_.format.viommu_type, parts_.device_id, parts_.parent.id());
    if (!viommu.ok()) return ExplainNesting(viommu.status(), "the IOMMU has no vIOMMUs");
    parts_.viommu = IommufdObject(iommufd_, *viommu);
    const absl::StatusOr<IommufdId> vdevice =
        iommufd_.AllocateVdevice(*viommu, parts_.device_id, RequesterId());
    if (!vdevice.ok()) {
      return ExplainNesting(vdevice.status(), "the device has more than one stream id");
    }
    parts_.vdevice = IommufdObject(iommufd_, *vdevice);
    return absl::OkStatus();
  }

  // Bus, device and function of the PCI address as one number.
  uint64_t RequesterId() const {
    uint64_t bus = 0;
    uint64_t device = 0;
    const absl::string_view bdf = function_.bdf;
    (void)absl::SimpleHexAtoi(bdf.substr(5, 2), &bus);
    (void)absl::SimpleHexAtoi(bdf.substr(8, 2), &device);
    return bus << 8 | device << 3 | static_cast<uint64_t>(bdf.back() - '0');
  }

  absl::Status ProbeNesting() {
    const IommufdId viommu = parts_.viommu.id();
    const absl::StatusOr<IommufdId> nested =
        iommufd_.AllocateHwpt({.flags = parts_.pasid_flag,
                               .device = parts_.device_id,
                               .parent = viommu != 0 ? viommu : parts_.parent.id(),
                               .data_type = parts_.format.hwpt_data_type,
                               .data = parts_.format.encode_empty()});
    if (!nested.ok()) return ExplainNesting(nested.status(), "the IOMMU takes no nested tables");
    const IommufdObject scratch(iommufd_, *nested);
    const absl::Status invalidated =
        iommufd_.Invalidate({.target = viommu != 0 ? viommu : *nested,
                             .data_type = parts_.format.invalidation_data_type});
    if (invalidated.ok()) return invalidated;
    return BecauseOf(invalidated, IommufdNestingUnsupportedByKernel(
                                      "the kernel drops no cached translations of guests"));
  }

  absl::Status Describe() {
    DeviceCapabilities& capabilities = parts_.capabilities;
    ASSIGN_OR_RETURN(capabilities.address_width, iommufd_.AddressWidth(parts_.ioas.id()));
    const bool binds_pasids = parts_.pasid_flag != 0;
    capabilities.granularity = binds_pasids ? NestGranularity::kPasid : NestGranularity::kRid;
    capabilities.format = parts_.format.format;
    capabilities.binds_device = true;
    capabilities.pasid_bits = binds_pasids ? std::min(hardware_.pasid_bits, kVtdPasidBits) : 0;
    parts_.format.describe(hardware_, &capabilities);
    return absl::OkStatus();
  }

  Iommufd& iommufd_;
  const PciFunction& function_;
  IommufdHardware hardware_;
  IommufdNestParts parts_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Iommufd>> OpenIommufd(kernel::Syscalls& syscalls,
                                                     const Bdf& device) {
  RETURN_IF_ERROR(FindVfioFunction(syscalls, device).status());
  ASSIGN_OR_RETURN(VfioFile file, OpenNode(syscalls, kIommuPath, device, NoIommufd));
  return std::make_unique<Iommufd>(std::move(file));
}

absl::StatusOr<std::unique_ptr<IommufdNest>> OpenIommufdNest(kernel::Syscalls& syscalls,
                                                             const IommufdSeams& seams,
                                                             Iommufd& iommufd, const Bdf& device) {
  ASSIGN_OR_RETURN(const PciFunction function, FindVfioFunction(syscalls, device));
  RETURN_IF_ERROR(CheckAlone(function));
  ASSIGN_OR_RETURN(IommufdNestParts parts, Opening(iommufd, function).Run(syscalls, seams));
  return std::make_unique<IommufdNest>(iommufd, std::move(parts));
}

}  // namespace nestor::agent
