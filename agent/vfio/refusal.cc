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
                             "has never had it"));
}

absl::Status NestingUnsupportedByHardware(absl::string_view what) {
  return Refuse("NESTING_UNSUPPORTED_HARDWARE",
                absl::StrCat(what,
                             ": nesting needs VT-d scalable mode with nested translation in "
                             "every IOMMU; enable it in the firmware and boot with "
                             "intel_iommu=on,sm_on"));
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

std::vector<absl::Status> RefusalsOf(const PciFunction& function) {
  std::vector<absl::Status> refusals;
  for (auto* check : {CheckHasGroup, CheckDriver, CheckAlone, CheckPasidWidth}) {
    if (absl::Status refusal = check(function); !refusal.ok()) refusals.push_back(refusal);
  }
  return refusals;
}

}  // namespace nestor::agent
