// The kernel's numbers and structs for nested translation in its IOMMU core, which the calls
// of agent/kernel/uapi/vfio_type1_nesting.h carry. Conventions and sources are named there.
// NOLINTBEGIN(readability-identifier-naming): the kernel's names.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nestor::kernel::uapi {

// What an IOMMU can do for nesting (V6 02); what `format` names follows.
struct iommu_nesting_info {
  uint32_t argsz;  // with the format's own part
  uint32_t flags;  // 0
  uint32_t format;
  uint32_t features;
  uint16_t addr_width;
  uint16_t pasid_bits;
  uint32_t padding;
};
inline constexpr uint32_t IOMMU_PASID_FORMAT_NONE = 0;
inline constexpr uint32_t IOMMU_PASID_FORMAT_INTEL_VTD = 1;
inline constexpr uint32_t IOMMU_PASID_FORMAT_LAST = 2;
inline constexpr uint32_t IOMMU_NESTING_FEAT_SYSWIDE_PASID = 1u << 0;
inline constexpr uint32_t IOMMU_NESTING_FEAT_BIND_PGTBL = 1u << 1;
inline constexpr uint32_t IOMMU_NESTING_FEAT_CACHE_INVLD = 1u << 2;
static_assert(sizeof(iommu_nesting_info) == 24);
static_assert(offsetof(iommu_nesting_info, flags) == 4);
static_assert(offsetof(iommu_nesting_info, format) == 8);
static_assert(offsetof(iommu_nesting_info, features) == 12);
static_assert(offsetof(iommu_nesting_info, addr_width) == 16);
static_assert(offsetof(iommu_nesting_info, pasid_bits) == 18);

// The part of IOMMU_PASID_FORMAT_INTEL_VTD: the registers masked to the bits below (V6 15;
// Intel VT-d specification, 11.4.2 and 11.4.3).
struct iommu_nesting_info_vtd {
  uint32_t flags;
  uint32_t padding;
  uint64_t cap_reg;
  uint64_t ecap_reg;
};
inline constexpr uint64_t VTD_CAP_FL1GP = 1ull << 56;  // 1 GiB pages in the first level
inline constexpr uint64_t VTD_CAP_FL5LP = 1ull << 60;  // five levels in the first level
inline constexpr uint64_t VTD_ECAP_PRS = 1ull << 29;   // page requests
inline constexpr uint64_t VTD_ECAP_ERS = 1ull << 30;   // execute requests
inline constexpr uint64_t VTD_ECAP_SRS = 1ull << 31;   // supervisor requests
inline constexpr uint64_t VTD_ECAP_EAFS = 1ull << 34;  // extended accessed flag
inline constexpr uint64_t VTD_ECAP_PASID = 1ull << 40;
static_assert(sizeof(iommu_nesting_info_vtd) == 24);
static_assert(offsetof(iommu_nesting_info_vtd, cap_reg) == 8);
static_assert(offsetof(iommu_nesting_info_vtd, ecap_reg) == 16);

// A stage-1 page table for a PASID (M5.10; V6 has the same layout, 5.7 to 5.9 another).
struct iommu_gpasid_bind_data_vtd {
  uint64_t flags;
  uint32_t pat;
  uint32_t emt;
};
inline constexpr uint64_t IOMMU_SVA_VTD_GPASID_SRE = 1ull << 0;   // supervisor requests
inline constexpr uint64_t IOMMU_SVA_VTD_GPASID_EAFE = 1ull << 1;  // extended accessed flag
// Page cache disable, write through, extended memory type, cache disable: memory types,
// which the kernel knows and refuses.
inline constexpr uint64_t IOMMU_SVA_VTD_GPASID_PCD = 1ull << 2;
inline constexpr uint64_t IOMMU_SVA_VTD_GPASID_PWT = 1ull << 3;
inline constexpr uint64_t IOMMU_SVA_VTD_GPASID_EMTE = 1ull << 4;
inline constexpr uint64_t IOMMU_SVA_VTD_GPASID_CD = 1ull << 5;
inline constexpr uint64_t IOMMU_SVA_VTD_GPASID_MTS_MASK =
    IOMMU_SVA_VTD_GPASID_PCD | IOMMU_SVA_VTD_GPASID_PWT | IOMMU_SVA_VTD_GPASID_EMTE |
    IOMMU_SVA_VTD_GPASID_CD;
inline constexpr uint64_t IOMMU_SVA_VTD_GPASID_LAST = 1ull << 6;
static_assert(sizeof(iommu_gpasid_bind_data_vtd) == 16);
static_assert(offsetof(iommu_gpasid_bind_data_vtd, pat) == 8);
static_assert(offsetof(iommu_gpasid_bind_data_vtd, emt) == 12);

struct iommu_gpasid_bind_data {
  uint32_t argsz;
  uint32_t version;
  uint32_t format;
  uint32_t addr_width;  // of a guest virtual address: 48 or 57
  uint64_t flags;
  uint64_t gpgd;    // guest physical address of the root
  uint64_t hpasid;  // what the hardware sees, from VFIO_IOMMU_PASID_REQUEST
  uint64_t gpasid;  // what the guest calls it, with IOMMU_SVA_GPASID_VAL
  uint8_t padding[8];
  union {
    iommu_gpasid_bind_data_vtd vtd;
  };
};
inline constexpr uint32_t IOMMU_GPASID_BIND_VERSION_1 = 1;
inline constexpr uint64_t IOMMU_SVA_GPASID_VAL = 1ull << 0;
// The least argsz: everything before the format's own part.
inline constexpr uint32_t IOMMU_GPASID_BIND_MIN_SIZE = 56;
static_assert(sizeof(iommu_gpasid_bind_data) == 72);
static_assert(offsetof(iommu_gpasid_bind_data, version) == 4);
static_assert(offsetof(iommu_gpasid_bind_data, format) == 8);
static_assert(offsetof(iommu_gpasid_bind_data, addr_width) == 12);
static_assert(offsetof(iommu_gpasid_bind_data, flags) == 16);
static_assert(offsetof(iommu_gpasid_bind_data, gpgd) == 24);
static_assert(offsetof(iommu_gpasid_bind_data, hpasid) == 32);
static_assert(offsetof(iommu_gpasid_bind_data, gpasid) == 40);
static_assert(offsetof(iommu_gpasid_bind_data, padding) == 48);
static_assert(offsetof(iommu_gpasid_bind_data, vtd) == IOMMU_GPASID_BIND_MIN_SIZE);

// What of the IOMMU's caches to drop (M5.10).
struct iommu_inv_pasid_info {
  uint32_t flags;
  uint32_t archid;
  uint64_t pasid;
};
inline constexpr uint32_t IOMMU_INV_PASID_FLAGS_PASID = 1u << 0;
inline constexpr uint32_t IOMMU_INV_PASID_FLAGS_ARCHID = 1u << 1;
static_assert(sizeof(iommu_inv_pasid_info) == 16);
static_assert(offsetof(iommu_inv_pasid_info, archid) == 4);
static_assert(offsetof(iommu_inv_pasid_info, pasid) == 8);

struct iommu_inv_addr_info {
  uint32_t flags;
  uint32_t archid;
  uint64_t pasid;
  uint64_t addr;
  uint64_t granule_size;  // bytes
  uint64_t nb_granules;
};
inline constexpr uint32_t IOMMU_INV_ADDR_FLAGS_PASID = 1u << 0;
inline constexpr uint32_t IOMMU_INV_ADDR_FLAGS_ARCHID = 1u << 1;
inline constexpr uint32_t IOMMU_INV_ADDR_FLAGS_LEAF = 1u << 2;
static_assert(sizeof(iommu_inv_addr_info) == 40);
static_assert(offsetof(iommu_inv_addr_info, archid) == 4);
static_assert(offsetof(iommu_inv_addr_info, pasid) == 8);
static_assert(offsetof(iommu_inv_addr_info, addr) == 16);
static_assert(offsetof(iommu_inv_addr_info, granule_size) == 24);
static_assert(offsetof(iommu_inv_addr_info, nb_granules) == 32);

struct iommu_cache_invalidate_info {
  uint32_t argsz;
  uint32_t version;
  uint8_t cache;  // bitmap
  uint8_t granularity;
  uint8_t padding[6];
  union {
    iommu_inv_addr_info addr_info;
    iommu_inv_pasid_info pasid_info;
  } granu;
};
inline constexpr uint32_t IOMMU_CACHE_INVALIDATE_INFO_VERSION_1 = 1;
inline constexpr uint8_t IOMMU_CACHE_INV_TYPE_IOTLB = 1u << 0;
inline constexpr uint8_t IOMMU_CACHE_INV_TYPE_DEV_IOTLB = 1u << 1;
inline constexpr uint8_t IOMMU_CACHE_INV_TYPE_PASID = 1u << 2;
inline constexpr uint8_t IOMMU_INV_GRANU_DOMAIN = 0;
inline constexpr uint8_t IOMMU_INV_GRANU_PASID = 1;
inline constexpr uint8_t IOMMU_INV_GRANU_ADDR = 2;
// The least argsz of each granularity.
inline constexpr uint32_t IOMMU_INV_DOMAIN_MIN_SIZE = 16;
inline constexpr uint32_t IOMMU_INV_PASID_MIN_SIZE = 32;
inline constexpr uint32_t IOMMU_INV_ADDR_MIN_SIZE = 56;
static_assert(sizeof(iommu_cache_invalidate_info) == IOMMU_INV_ADDR_MIN_SIZE);
static_assert(offsetof(iommu_cache_invalidate_info, version) == 4);
static_assert(offsetof(iommu_cache_invalidate_info, cache) == 8);
static_assert(offsetof(iommu_cache_invalidate_info, granularity) == 9);
static_assert(offsetof(iommu_cache_invalidate_info, padding) == 10);
static_assert(offsetof(iommu_cache_invalidate_info, granu) == IOMMU_INV_DOMAIN_MIN_SIZE);
static_assert(offsetof(iommu_cache_invalidate_info, granu) + sizeof(iommu_inv_pasid_info) ==
              IOMMU_INV_PASID_MIN_SIZE);

// Why a transaction of a device was refused (M5.10): iommu_fault_unrecoverable.reason.
inline constexpr uint32_t IOMMU_FAULT_REASON_UNKNOWN = 0;
inline constexpr uint32_t IOMMU_FAULT_REASON_PASID_FETCH = 1;
inline constexpr uint32_t IOMMU_FAULT_REASON_BAD_PASID_ENTRY = 2;
inline constexpr uint32_t IOMMU_FAULT_REASON_PASID_INVALID = 3;
inline constexpr uint32_t IOMMU_FAULT_REASON_WALK_EABT = 4;
inline constexpr uint32_t IOMMU_FAULT_REASON_PTE_FETCH = 5;
inline constexpr uint32_t IOMMU_FAULT_REASON_PERMISSION = 6;
inline constexpr uint32_t IOMMU_FAULT_REASON_ACCESS = 7;
inline constexpr uint32_t IOMMU_FAULT_REASON_OOR_ADDRESS = 8;

// ENOTSUPP: an errno of the kernel's own, without a name in <cerrno>, that leaks out.
inline constexpr int ENOTSUPP_INTERNAL = 524;

}  // namespace nestor::kernel::uapi
// NOLINTEND(readability-identifier-naming)
