#include "agent/kernel/dma_engine_registers.h"

#include "absl/strings/str_cat.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"

namespace nestor::kernel {

std::string FaultReasonName(uint32_t reason) {
  switch (reason) {
    case uapi::IOMMU_FAULT_REASON_PASID_FETCH:
      return "PASID_FETCH";
    case uapi::IOMMU_FAULT_REASON_BAD_PASID_ENTRY:
      return "BAD_PASID_ENTRY";
    case uapi::IOMMU_FAULT_REASON_PASID_INVALID:
      return "PASID_INVALID";
    case uapi::IOMMU_FAULT_REASON_WALK_EABT:
      return "WALK_EABT";
    case uapi::IOMMU_FAULT_REASON_PTE_FETCH:
      return "PTE_FETCH";
    case uapi::IOMMU_FAULT_REASON_PERMISSION:
      return "PERMISSION";
    case uapi::IOMMU_FAULT_REASON_ACCESS:
      return "ACCESS";
    case uapi::IOMMU_FAULT_REASON_OOR_ADDRESS:
      return "OOR_ADDRESS";
    case kSimFaultReasonNotModelled:
      return "NOT_MODELLED";
    default:
      return absl::StrCat(reason);
  }
}

}  // namespace nestor::kernel
