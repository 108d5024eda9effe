// The parts of iommufd's calls that each IOMMU driver defines for itself: what its hardware
// is, a guest's first stage, and an invalidation.
//
// Conventions as in agent/kernel/uapi/iommufd.h. Source: include/uapi/linux/iommufd.h of
// Linux 7.2. Words that the kernel declares little endian are plain here.
// NOLINTBEGIN(readability-identifier-naming): the kernel's names.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nestor::kernel::uapi {

// IOMMU_GET_HW_INFO: out_data_type and the struct of each.
inline constexpr uint32_t IOMMU_HW_INFO_TYPE_NONE = 0;
inline constexpr uint32_t IOMMU_HW_INFO_TYPE_INTEL_VTD = 1;
inline constexpr uint32_t IOMMU_HW_INFO_TYPE_ARM_SMMUV3 = 2;
inline constexpr uint32_t IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV = 3;
inline constexpr uint32_t IOMMU_HW_INFO_TYPE_AMD = 4;

struct iommu_hw_info_vtd {
  uint32_t flags;
  uint32_t reserved;
  uint64_t cap_reg;
  uint64_t ecap_reg;
};
// A nest parent must have no read-only mapping.
inline constexpr uint32_t IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17 = 1u << 0;
static_assert(sizeof(iommu_hw_info_vtd) == 24);
static_assert(offsetof(iommu_hw_info_vtd, cap_reg) == 8);
static_assert(offsetof(iommu_hw_info_vtd, ecap_reg) == 16);

struct iommu_hw_info_arm_smmuv3 {
  uint32_t flags;
  uint32_t reserved;
  uint32_t idr[6];
  uint32_t iidr;
  uint32_t aidr;
};
static_assert(sizeof(iommu_hw_info_arm_smmuv3) == 40);
static_assert(offsetof(iommu_hw_info_arm_smmuv3, idr) == 8);
static_assert(offsetof(iommu_hw_info_arm_smmuv3, iidr) == 32);
static_assert(offsetof(iommu_hw_info_arm_smmuv3, aidr) == 36);

struct iommu_hw_info_amd {
  uint64_t efr;
  uint64_t efr2;
};
static_assert(sizeof(iommu_hw_info_amd) == 16);
static_assert(offsetof(iommu_hw_info_amd, efr2) == 8);

// IOMMU_HWPT_ALLOC: data_type and the struct of each.
inline constexpr uint32_t IOMMU_HWPT_DATA_NONE = 0;
inline constexpr uint32_t IOMMU_HWPT_DATA_VTD_S1 = 1;
inline constexpr uint32_t IOMMU_HWPT_DATA_ARM_SMMUV3 = 2;
inline constexpr uint32_t IOMMU_HWPT_DATA_AMD_GUEST = 3;

struct iommu_hwpt_vtd_s1 {
  uint64_t flags;
  uint64_t pgtbl_addr;  // guest physical
  uint32_t addr_width;
  uint32_t reserved;
};
inline constexpr uint64_t IOMMU_VTD_S1_SRE = 1ull << 0;   // supervisor requests
inline constexpr uint64_t IOMMU_VTD_S1_EAFE = 1ull << 1;  // extended accessed flag
inline constexpr uint64_t IOMMU_VTD_S1_WPE = 1ull << 2;   // write protection for supervisors
static_assert(sizeof(iommu_hwpt_vtd_s1) == 24);
static_assert(offsetof(iommu_hwpt_vtd_s1, pgtbl_addr) == 8);
static_assert(offsetof(iommu_hwpt_vtd_s1, addr_width) == 16);
static_assert(offsetof(iommu_hwpt_vtd_s1, reserved) == 20);

// The first two double words of a guest's stream table entry.
struct iommu_hwpt_arm_smmuv3 {
  uint64_t ste[2];
};
static_assert(sizeof(iommu_hwpt_arm_smmuv3) == 16);

struct iommu_hwpt_amd_guest {
  uint64_t dte[4];  // a guest's device table entry
};
static_assert(sizeof(iommu_hwpt_amd_guest) == 32);

// The fields of a stream table entry that a guest may choose (Arm SMMUv3 specification, 5.2;
// drivers/iommu/arm/arm-smmu-v3 of Linux 7.2): V, Config, S1Fmt, S1ContextPtr and S1CDMax in
// the first double word; S1DSS, S1CIR, S1COR, S1CSH, S1STALLD and EATS in the second.
inline constexpr uint64_t SMMU_STE_0_V = 1ull << 0;
inline constexpr int SMMU_STE_0_CFG_SHIFT = 1;
inline constexpr uint64_t SMMU_STE_0_CFG_MASK = 7;
inline constexpr uint64_t SMMU_STE_0_CFG_ABORT = 0;
inline constexpr uint64_t SMMU_STE_0_CFG_BYPASS = 4;
inline constexpr uint64_t SMMU_STE_0_CFG_S1_TRANS = 5;
inline constexpr uint64_t SMMU_STE_0_GUEST = 0xf80fffffffffffffull;
inline constexpr uint64_t SMMU_STE_1_GUEST = 0x380000ffull;
inline constexpr int SMMU_STE_1_EATS_SHIFT = 28;
inline constexpr uint64_t SMMU_STE_1_EATS_MASK = 3;
// Fields of the registers in iommu_hw_info_arm_smmuv3 (Arm SMMUv3 specification, 6.3).
inline constexpr int SMMU_IDR1_SSIDSIZE_SHIFT = 6;
inline constexpr uint32_t SMMU_IDR5_GRAN4K = 1u << 4;

// IOMMU_HWPT_INVALIDATE: data_type and the entry of each. The first is for a nested HWPT,
// the second for a vIOMMU.
inline constexpr uint32_t IOMMU_HWPT_INVALIDATE_DATA_VTD_S1 = 0;
inline constexpr uint32_t IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3 = 1;

struct iommu_hwpt_vtd_s1_invalidate {
  uint64_t addr;    // 4 KiB aligned
  uint64_t npages;  // of 4 KiB; all ones, with address 0: everything
  uint32_t flags;
  uint32_t reserved;
};
inline constexpr uint32_t IOMMU_VTD_INV_FLAGS_LEAF = 1u << 0;
static_assert(sizeof(iommu_hwpt_vtd_s1_invalidate) == 24);
static_assert(offsetof(iommu_hwpt_vtd_s1_invalidate, npages) == 8);
static_assert(offsetof(iommu_hwpt_vtd_s1_invalidate, flags) == 16);
static_assert(offsetof(iommu_hwpt_vtd_s1_invalidate, reserved) == 20);

struct iommu_viommu_arm_smmuv3_invalidate {
  uint64_t cmd[2];  // a command of the SMMU as its guest wrote it
};
static_assert(sizeof(iommu_viommu_arm_smmuv3_invalidate) == 16);

// IOMMU_VIOMMU_ALLOC: types.
inline constexpr uint32_t IOMMU_VIOMMU_TYPE_DEFAULT = 0;
inline constexpr uint32_t IOMMU_VIOMMU_TYPE_ARM_SMMUV3 = 1;
inline constexpr uint32_t IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV = 2;

}  // namespace nestor::kernel::uapi
// NOLINTEND(readability-identifier-naming)
