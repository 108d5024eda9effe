#include "agent/vfio/refusal.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/core/kernel_error.h"

namespace nestor::agent {

absl::Status Refuse(absl::string_view reason, absl::string_view message, absl::StatusCode code) {
  return WithReason(absl::Status(code, message), reason);
}

absl::Status NestingUnsupportedByKernel(absl::string_view what) {
  return Refuse("NESTING_UNSUPPORTED_KERNEL",
                absl::StrCat(what,
                             ": boot a kernel built with VFIO_IOMMU_NESTING_OP; mainline Linux "
                             "has never had it and nests by iommufd (CONFIG_IOMMUFD)"));
}

absl::Status NestingUnsupportedByHardware(absl::string_view what) {
  return Refuse("NESTING_UNSUPPORTED_HARDWARE",
                absl::StrCat(what,
                             ": nesting needs VT-d scalable mode with nested translation in "
                             "every IOMMU; enable it in the firmware and boot with "
                             "intel_iommu=on,sm_on"));
}

absl::Status IommufdNestingUnsupportedByKernel(absl::string_view what) {
  return Refuse("NESTING_UNSUPPORTED_KERNEL",
                absl::StrCat(what,
                             ": boot a newer kernel; Linux nests SMMUv3 from 6.13, PASIDs of VT-d "
                             "from 6.15"));
}

absl::Status IommufdNestingUnsupportedByHardware(absl::string_view what) {
  return Refuse("NESTING_UNSUPPORTED_HARDWARE",
                absl::StrCat(what,
                             ": nesting needs VT-d scalable mode with nested translation, enabled "
                             "in the firmware and not switched off with intel_iommu=sm_off, or an "
                             "SMMUv3 of two stages with S2FWB or CANWBS"));
}

absl::Status NoVfio(absl::string_view what) {
  return Refuse("NO_VFIO", absl::StrCat(what,
                                        ": load VFIO with `modprobe vfio-pci`; in a mount "
                                        "namespace of its own the agent needs the host's "
                                        "/dev/vfio"));
}

absl::Status NoIommufd(absl::string_view what) {
  return Refuse("NO_IOMMUFD",
                absl::StrCat(what,
                             ": load it with `modprobe iommufd`, on a kernel built with "
                             "CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV; in a mount namespace of "
                             "its own the agent needs the host's /dev/iommu and "
                             "/dev/vfio/devices"));
}

absl::Status NodeBusy(const PciFunction& function, absl::string_view node) {
  return Refuse(
      "GROUP_BUSY",
      absl::StrCat("IOMMU group ", function.iommu_group, " of ", function.bdf,
                   " is in use: find the other owner with `fuser -v ", node, "` and end it"),
      absl::StatusCode::kUnavailable);
}

absl::Status IommuWithoutPasids(absl::string_view device) {
  return Refuse("PASID_UNSUPPORTED",
                absl::StrCat("the IOMMU of ", device,
                             " has no PASIDs: enable scalable mode (intel_iommu=on,sm_on)"));
}

absl::Status GroupNotViable(const PciFunction& function, const std::vector<Bdf>& siblings) {
  return Refuse(
      "GROUP_NOT_VIABLE",
      absl::StrCat("IOMMU group ", function.iommu_group, " of ", function.bdf,
                   " also holds functions of host drivers: unbind those of ",
                   absl::StrJoin(siblings, ", "), " that are not for VFIO from their drivers"));
}

absl::Status CheckHasGroup(const PciFunction& function) {
  if (function.iommu_group >= 0) return absl::OkStatus();
  return Refuse("NO_IOMMU_GROUP",
                absl::StrCat(function.bdf,
                             " is behind no active IOMMU: enable VT-d in the firmware and boot "
                             "with intel_iommu=on,sm_on"));
}

absl::Status CheckDriver(const PciFunction& function) {
  if (function.driver == kVfioPciDriver) return absl::OkStatus();
  return Refuse(
      "DRIVER_NOT_VFIO",
      absl::StrCat(function.bdf, " is bound to ",
                   function.driver.empty() ? "no driver" : function.driver,
                   ": bind it with `driverctl set-override ", function.bdf, " vfio-pci`"));
}

absl::Status CheckAlone(const PciFunction& function) {
  if (function.group_siblings.empty()) return absl::OkStatus();
  return Refuse("GROUP_SHARED",
                absl::StrCat(function.bdf, " shares IOMMU group ", function.iommu_group, " with ",
                             absl::StrJoin(function.group_siblings, ", "),
                             ": move it to a slot of its own, or one behind a switch with ACS"));
}

absl::Status CheckPasidWidth(const PciFunction& function) {
  const uint32_t device_bits = function.pasid_bits.value_or(kVtdPasidBits);
  if (device_bits >= kVtdPasidBits) return absl::OkStatus();
  return Refuse("PASID_UNSUPPORTED",
                absl::StrCat(function.bdf, " sends PASIDs of ", device_bits,
                             " bits, VT-d binds them of 20 bits only: use a device whose PASID "
                             "capability has that width"));
}

std::vector<absl::Status> RefusalsOf(const PciFunction& function, absl::string_view backend) {
  std::vector<absl::Status> refusals = {CheckHasGroup(function), CheckDriver(function),
                                        CheckAlone(function)};
  if (backend == "type1") refusals.push_back(CheckPasidWidth(function));
  std::erase_if(refusals, [](const absl::Status& refusal) { return refusal.ok(); });
  return refusals;
}

}  // namespace nestor::agent
