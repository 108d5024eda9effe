#include "agent/vfio/stage1_format.h"

#include <cstring>
#include <limits>

#include "agent/kernel/uapi/iommu_nesting.h"
#include "agent/kernel/uapi/iommufd.h"

namespace nestor::agent {
namespace {

namespace uapi = kernel::uapi;

constexpr uint64_t kPageSize = 4096;

template <typename Struct>
std::vector<uint8_t> BytesOf(const Struct& value) {
  std::vector<uint8_t> bytes(sizeof(value));
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

std::vector<uint8_t> EncodeVtd(const PageTable& table) {
  uapi::iommu_hwpt_vtd_s1 data = {};
  data.flags = (table.supervisor_request ? uapi::IOMMU_VTD_S1_SRE : 0) |
               (table.extended_access_flag ? uapi::IOMMU_VTD_S1_EAFE : 0);
  data.pgtbl_addr = table.root;
  data.addr_width = table.address_width;
  return BytesOf(data);
}

std::vector<uint8_t> EncodeEmptyVtd() { return EncodeVtd({.root = 0}); }

// Without LEAF, since the caller does not say that only last-level entries changed.
std::vector<uint8_t> EncodeVtdInvalidation(uint64_t address, uint64_t size) {
  uapi::iommu_hwpt_vtd_s1_invalidate entry = {};
  entry.npages = std::numeric_limits<uint64_t>::max();
  if (size != 0) {
    const uint64_t first_page = address / kPageSize;
    entry.addr = first_page * kPageSize;
    entry.npages = (address + (size - 1)) / kPageSize - first_page + 1;
  }
  return BytesOf(entry);
}

void DescribeVtd(const IommufdHardware& hardware, DeviceCapabilities* capabilities) {
  uapi::iommu_hw_info_vtd vtd = {};
  std::memcpy(&vtd, hardware.data.data(), sizeof(vtd));
  capabilities->five_level = (vtd.cap_reg & uapi::VTD_CAP_FL5LP) != 0;
  capabilities->supervisor_request = (vtd.ecap_reg & uapi::VTD_ECAP_SRS) != 0;
  capabilities->extended_access_flag = (vtd.ecap_reg & uapi::VTD_ECAP_EAFS) != 0;
}

// A stream table entry whose context descriptor table has one entry, kept in inner shareable
// write-back memory like all that the guest's processors write (Arm SMMUv3 specification,
// 5.2: S1CIR and S1COR 1 write-back read-allocate, S1CSH 3 inner shareable).
std::vector<uint8_t> EncodeSmmu(const PageTable& table) {
  uapi::iommu_hwpt_arm_smmuv3 data = {};
  data.ste[0] =
      uapi::SMMU_STE_0_V | uapi::SMMU_STE_0_CFG_S1_TRANS << uapi::SMMU_STE_0_CFG_SHIFT | table.root;
  data.ste[1] = uint64_t{1} << 2 | uint64_t{1} << 4 | uint64_t{3} << 6;
  return BytesOf(data);
}

std::vector<uint8_t> EncodeEmptySmmu() { return BytesOf(uapi::iommu_hwpt_arm_smmuv3{}); }

// CMD_TLBI_NH_ALL, whatever the range: commands for a range need the granule of the guest's
// tables. The kernel puts in the virtual machine's id.
std::vector<uint8_t> EncodeSmmuInvalidation(uint64_t, uint64_t) {
  constexpr uint64_t kTlbiNhAll = 0x10;
  return BytesOf(uapi::iommu_viommu_arm_smmuv3_invalidate{{kTlbiNhAll, 0}});
}

void DescribeSmmu(const IommufdHardware&, DeviceCapabilities*) {}

constexpr Stage1Format kFormats[] = {
    {.hardware_type = uapi::IOMMU_HW_INFO_TYPE_INTEL_VTD,
     .format = PageTableFormat::kVtdS1,
     .nests_pasids = true,
     .viommu_type = 0,
     .hwpt_data_type = uapi::IOMMU_HWPT_DATA_VTD_S1,
     .encode = EncodeVtd,
     .encode_empty = EncodeEmptyVtd,
     .invalidation_data_type = uapi::IOMMU_HWPT_INVALIDATE_DATA_VTD_S1,
     .encode_invalidation = EncodeVtdInvalidation,
     .describe = DescribeVtd},
    {.hardware_type = uapi::IOMMU_HW_INFO_TYPE_ARM_SMMUV3,
     .format = PageTableFormat::kArmSmmuV3,
     .nests_pasids = false,
     .viommu_type = uapi::IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
     .hwpt_data_type = uapi::IOMMU_HWPT_DATA_ARM_SMMUV3,
     .encode = EncodeSmmu,
     .encode_empty = EncodeEmptySmmu,
     .invalidation_data_type = uapi::IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
     .encode_invalidation = EncodeSmmuInvalidation,
     .describe = DescribeSmmu},
};

}  // namespace

absl::Span<const Stage1Format> LinuxStage1Formats() { return kFormats; }

}  // namespace nestor::agent
