#include "agent/kernel/sim_machine.h"

#include "absl/strings/str_format.h"
#include "agent/kernel/uapi/vtd_registers.h"

namespace nestor::kernel {

uint64_t VtdCapabilityRegister(const SimIommuProperties& iommu) {
  return (iommu.first_level_1gib_pages ? uapi::VTD_CAP_FL1GP : 0) |
         (iommu.first_level_5_levels ? uapi::VTD_CAP_FL5LP : 0);
}

// Page and execute requests are always there: no rule of the model depends on them.
uint64_t VtdExtendedCapabilityRegister(const SimIommuProperties& iommu) {
  return uapi::VTD_ECAP_PRS | uapi::VTD_ECAP_ERS | uapi::VTD_ECAP_PASID |
         (iommu.supervisor_requests ? uapi::VTD_ECAP_SRS : 0) |
         (iommu.extended_accessed_flag ? uapi::VTD_ECAP_EAFS : 0);
}

uint64_t VtdWholeCapabilityRegister(const SimIommuProperties& iommu) {
  return VtdCapabilityRegister(iommu) | uint64_t{iommu.address_width - 1}
                                            << uapi::VTD_CAP_MGAW_SHIFT;
}

uint64_t VtdWholeExtendedCapabilityRegister(const SimIommuProperties& iommu) {
  uint64_t ecap = VtdExtendedCapabilityRegister(iommu) & ~uapi::VTD_ECAP_PASID;
  if (iommu.nesting) {
    ecap |= uapi::VTD_ECAP_SMTS | uapi::VTD_ECAP_NEST | uapi::VTD_ECAP_SSTS | uapi::VTD_ECAP_FSTS;
  }
  if (iommu.pasid_bits == 0) return ecap;
  return ecap | uapi::VTD_ECAP_PASID | uint64_t{iommu.pasid_bits - 1} << uapi::VTD_ECAP_PSS_SHIFT;
}

SimMachine DefaultSimMachine(int devices) {
  SimMachine machine;
  for (int number = 1; number <= devices; ++number) {
    SimDeviceDescription device;
    device.bdf = absl::StrFormat("0000:%02x:00.0", number);
    device.iommu_group = number;
    device.numa_node = (number - 1) % 2;
    machine.devices.push_back(device);
  }
  return machine;
}

}  // namespace nestor::kernel
