#include "agent/kernel/sim_machine.h"

#include "absl/strings/str_format.h"

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
