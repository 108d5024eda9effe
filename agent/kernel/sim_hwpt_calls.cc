// IOMMU_HWPT_ALLOC and IOMMU_GET_HW_INFO, check by check in the kernel's order.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "agent/kernel/sim_hwpt.h"
#include "agent/kernel/sim_iommufd_calls.h"
#include "agent/kernel/sim_iommufd_device.h"
#include "agent/kernel/sim_system.h"
#include "agent/kernel/sim_viommu.h"

namespace nestor::kernel {
namespace {

using Bytes = std::vector<uint8_t>;

// Flags of a nested HWPT. A queue of faults cannot be made here.
constexpr uint32_t kFault = uapi::IOMMU_HWPT_FAULT_ID_VALID;
constexpr uint32_t kPasid = uapi::IOMMU_HWPT_ALLOC_PASID;
constexpr uint32_t kParent = uapi::IOMMU_HWPT_ALLOC_NEST_PARENT;

bool KnowsPasids(const SimMachine& machine) {
  return machine.personality == SimPersonality::kLinux7_2;
}

// The driver's part of the data, all of it: 0, -EINVAL, -EFAULT.
template <typename Data>
int ReadData(const SimTask& task, const uapi::iommu_hwpt_alloc& alloc, Data* data) {
  if (alloc.data_len != sizeof(*data)) return -EINVAL;
  return task.memory().Read(alloc.data_uptr, data) ? 0 : -EFAULT;
}

int AllocPaging(SimIommufdCall& call, const uapi::iommu_hwpt_alloc& alloc,
                std::shared_ptr<SimIoas> ioas, std::shared_ptr<SimHwpt>* hwpt) {
  const uint32_t flags = alloc.flags;
  if ((flags & kFault) != 0 && (flags & kParent) != 0) return -EOPNOTSUPP;
  const int result = CheckPagingFlags(call.context.system().machine, flags & ~kFault);
  if (result != 0) return result;
  if (alloc.data_type != uapi::IOMMU_HWPT_DATA_NONE) return -EOPNOTSUPP;
  std::shared_ptr<SimPagingHwpt> paging;
  const int created = SimPagingHwpt::Create(call.context.system(), std::move(ioas), flags,
                                            /*is_automatic=*/false, &paging);
  *hwpt = paging;
  return created;
}

// Nested directly in a HWPT, which only VT-d's driver offers.
int AllocVtd(SimIommufdCall& call, const uapi::iommu_hwpt_alloc& alloc,
             const std::shared_ptr<SimPagingHwpt>& parent, std::shared_ptr<SimHwpt>* hwpt) {
  const SimMachine& machine = call.context.system().machine;
  const uint32_t known = kFault | (KnowsPasids(machine) ? kPasid : 0);
  if ((alloc.flags & ~known) != 0 || alloc.data_len == 0) return -EOPNOTSUPP;
  if (machine.iommu.hardware != SimIommuHardware::kVtd) return -EOPNOTSUPP;
  if (parent->is_automatic() || !parent->is_nest_parent()) return -EINVAL;
  if (!machine.iommu.nesting || alloc.data_type != uapi::IOMMU_HWPT_DATA_VTD_S1) {
    return -EOPNOTSUPP;
  }
  uapi::iommu_hwpt_vtd_s1 data;
  if (const int result = ReadData(call.task, alloc, &data); result != 0) return result;
  const bool is_pasid_compatible = (alloc.flags & kPasid) != 0;
  *hwpt =
      std::make_shared<SimVtdNestedHwpt>(call.context.system(), parent, is_pasid_compatible, data);
  return 0;
}

bool IsLegal(const uapi::iommu_hwpt_arm_smmuv3& data) {
  if ((data.ste[0] & uapi::SMMU_STE_0_V) == 0) return true;
  const uint64_t configuration =
      data.ste[0] >> uapi::SMMU_STE_0_CFG_SHIFT & uapi::SMMU_STE_0_CFG_MASK;
  const uint64_t ats = data.ste[1] >> uapi::SMMU_STE_1_EATS_SHIFT & uapi::SMMU_STE_1_EATS_MASK;
  return (data.ste[0] & ~uapi::SMMU_STE_0_GUEST) == 0 &&
         (data.ste[1] & ~uapi::SMMU_STE_1_GUEST) == 0 && ats <= 1 &&
         (configuration == uapi::SMMU_STE_0_CFG_ABORT ||
          configuration == uapi::SMMU_STE_0_CFG_BYPASS ||
          configuration == uapi::SMMU_STE_0_CFG_S1_TRANS);
}

// Nested in a guest's share of an SMMUv3.
int AllocSmmu(SimIommufdCall& call, const uapi::iommu_hwpt_alloc& alloc,
              const std::shared_ptr<SimViommu>& viommu, std::shared_ptr<SimHwpt>* hwpt) {
  if ((alloc.flags & ~kFault) != 0 || alloc.data_len == 0) return -EOPNOTSUPP;
  if (alloc.data_type != uapi::IOMMU_HWPT_DATA_ARM_SMMUV3) return -EINVAL;
  uapi::iommu_hwpt_arm_smmuv3 data;
  if (const int result = ReadData(call.task, alloc, &data); result != 0) return result;
  if (!IsLegal(data)) return -EIO;
  *hwpt = std::make_shared<SimSmmuNestedHwpt>(call.context.system(), viommu, data);
  return 0;
}

template <typename Info>
Bytes BytesOf(const Info& info) {
  Bytes bytes(sizeof(info));
  std::memcpy(bytes.data(), &info, sizeof(info));
  return bytes;
}

// What the IOMMU's driver says of its hardware.
uint32_t DescribeHardware(const SimMachine& machine, Bytes* bytes) {
  const bool newest = machine.personality == SimPersonality::kLinux7_2;
  if (machine.iommu.hardware == SimIommuHardware::kVtd) {
    uapi::iommu_hw_info_vtd info = {};
    info.flags = uapi::IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17;
    info.cap_reg = VtdWholeCapabilityRegister(machine.iommu);
    info.ecap_reg = VtdWholeExtendedCapabilityRegister(machine.iommu);
    *bytes = BytesOf(info);
    return uapi::IOMMU_HW_INFO_TYPE_INTEL_VTD;
  }
  if (!newest) return uapi::IOMMU_HW_INFO_TYPE_NONE;
  if (machine.iommu.hardware == SimIommuHardware::kAmd) {
    *bytes = BytesOf(uapi::iommu_hw_info_amd{});
    return uapi::IOMMU_HW_INFO_TYPE_AMD;
  }
  uapi::iommu_hw_info_arm_smmuv3 info = {};
  info.idr[1] = machine.iommu.pasid_bits << uapi::SMMU_IDR1_SSIDSIZE_SHIFT;
  info.idr[5] = uapi::SMMU_IDR5_GRAN4K;
  *bytes = BytesOf(info);
  return uapi::IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
}

// As much as there is room for; zero in what is left of it.
bool Give(const SimTask& task, Bytes bytes, uint64_t address, uint32_t room) {
  bytes.resize(std::min<uint32_t>(room, 4096));
  return bytes.empty() || task.memory().Write(address, bytes.data(), bytes.size());
}

}  // namespace

int HwptAlloc(SimIommufdCall& call, uapi::iommu_hwpt_alloc* alloc) {
  if (alloc->reserved != 0) return -EOPNOTSUPP;
  const bool has_data = alloc->data_type != uapi::IOMMU_HWPT_DATA_NONE;
  if (has_data != (alloc->data_len != 0)) return -EINVAL;
  const auto device = call.context.Get<SimIommufdDevice>(alloc->dev_id);
  if (device == nullptr) return -ENOENT;
  const auto parent = call.context.Get<SimIommufdObject>(alloc->pt_id);
  std::shared_ptr<SimHwpt> hwpt;
  int result = -EINVAL;
  if (const auto ioas = std::dynamic_pointer_cast<SimIoas>(parent)) {
    result = AllocPaging(call, *alloc, ioas, &hwpt);
  } else if (const auto paging = std::dynamic_pointer_cast<SimPagingHwpt>(parent)) {
    result = AllocVtd(call, *alloc, paging, &hwpt);
  } else if (const auto viommu = std::dynamic_pointer_cast<SimViommu>(parent)) {
    result = AllocSmmu(call, *alloc, viommu, &hwpt);
  }
  if (result != 0) return result;
  if ((alloc->flags & kFault) != 0) return -ENOENT;
  alloc->out_hwpt_id = call.context.Add(hwpt);
  return 0;
}

int GetHwInfo(SimIommufdCall& call, uapi::iommu_hw_info* info) {
  const SimMachine& machine = call.context.system().machine;
  const bool newest = machine.personality == SimPersonality::kLinux7_2;
  const uint32_t known = newest ? uapi::IOMMU_HW_INFO_FLAG_INPUT_TYPE : 0;
  const bool has_reserved =
      std::any_of(std::begin(info->reserved), std::end(info->reserved), [](int v) { return v; });
  if ((info->flags & ~known) != 0 || has_reserved) return -EOPNOTSUPP;
  if (info->flags != 0 && info->out_data_type != uapi::IOMMU_HW_INFO_TYPE_NONE) return -EOPNOTSUPP;
  const auto device = call.context.Get<SimIommufdDevice>(info->dev_id);
  if (device == nullptr) return -ENOENT;
  Bytes bytes;
  info->out_data_type = DescribeHardware(machine, &bytes);
  const auto length = static_cast<uint32_t>(bytes.size());
  if (!Give(call.task, std::move(bytes), info->data_uptr, info->data_len)) return -EFAULT;
  info->data_len = length;
  info->out_max_pasid_log2 = static_cast<uint8_t>(PasidBits(machine, device->device()));
  info->out_capabilities = info->out_max_pasid_log2 > 0 ? uapi::IOMMU_HW_CAP_PCI_PASID_PRIV : 0;
  if (newest) info->out_capabilities |= uapi::IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED;
  return 0;
}

}  // namespace nestor::kernel
