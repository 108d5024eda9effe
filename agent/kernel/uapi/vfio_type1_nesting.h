// The kernel's numbers and structs for nested translation on VFIO type1.
//
// The interface of "vfio: expose virtual Shared Virtual Addressing to VMs", v6 (2020-07),
// which no mainline release and no installed header has; the mainline part is declared again
// beside it. Names, spelling and values are the kernel's, kept in a namespace: never include
// <linux/vfio.h> or <linux/iommu.h> in the same source file, their macros have these names.
//
// Little endian, 64-bit, for every Linux architecture with the generic _IOC layout (not
// powerpc, mips, sparc or alpha). Sources, named beside each group:
//   M5.10  include/uapi/linux/{vfio,iommu}.h of Linux 5.10
//   V6 nn  patch nn of the series
// NOLINTBEGIN(readability-identifier-naming): the kernel's names.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "agent/kernel/uapi/iommu_nesting.h"

namespace nestor::kernel::uapi {

static_assert(std::endian::native == std::endian::little);

// Requests of ioctl(2) (M5.10): _IO(VFIO_TYPE, VFIO_BASE + n).
inline constexpr uint32_t VFIO_TYPE = ';';
inline constexpr uint32_t VFIO_BASE = 100;
constexpr uint32_t VfioRequest(uint32_t n) { return VFIO_TYPE << 8 | (VFIO_BASE + n); }

inline constexpr uint32_t VFIO_GET_API_VERSION = VfioRequest(0);
inline constexpr uint32_t VFIO_CHECK_EXTENSION = VfioRequest(1);
inline constexpr uint32_t VFIO_SET_IOMMU = VfioRequest(2);
inline constexpr uint32_t VFIO_GROUP_GET_STATUS = VfioRequest(3);
inline constexpr uint32_t VFIO_GROUP_SET_CONTAINER = VfioRequest(4);
inline constexpr uint32_t VFIO_GROUP_UNSET_CONTAINER = VfioRequest(5);
inline constexpr uint32_t VFIO_GROUP_GET_DEVICE_FD = VfioRequest(6);
inline constexpr uint32_t VFIO_DEVICE_GET_INFO = VfioRequest(7);
inline constexpr uint32_t VFIO_DEVICE_GET_REGION_INFO = VfioRequest(8);
inline constexpr uint32_t VFIO_DEVICE_GET_IRQ_INFO = VfioRequest(9);
inline constexpr uint32_t VFIO_DEVICE_RESET = VfioRequest(11);
inline constexpr uint32_t VFIO_IOMMU_GET_INFO = VfioRequest(12);
inline constexpr uint32_t VFIO_IOMMU_MAP_DMA = VfioRequest(13);
inline constexpr uint32_t VFIO_IOMMU_UNMAP_DMA = VfioRequest(14);
// V6 07 and V6 10. Other series and other kernels give these two numbers other meanings:
// never issue them before the nesting capability was found and validated.
inline constexpr uint32_t VFIO_IOMMU_PASID_REQUEST = VfioRequest(18);
inline constexpr uint32_t VFIO_IOMMU_NESTING_OP = VfioRequest(19);

static_assert(VFIO_GET_API_VERSION == 0x3b64);
static_assert(VFIO_CHECK_EXTENSION == 0x3b65);
static_assert(VFIO_SET_IOMMU == 0x3b66);
static_assert(VFIO_GROUP_GET_STATUS == 0x3b67);
static_assert(VFIO_GROUP_SET_CONTAINER == 0x3b68);
static_assert(VFIO_GROUP_UNSET_CONTAINER == 0x3b69);
static_assert(VFIO_GROUP_GET_DEVICE_FD == 0x3b6a);
static_assert(VFIO_DEVICE_GET_INFO == 0x3b6b);
static_assert(VFIO_DEVICE_GET_REGION_INFO == 0x3b6c);
static_assert(VFIO_DEVICE_GET_IRQ_INFO == 0x3b6d);
static_assert(VFIO_DEVICE_RESET == 0x3b6f);
static_assert(VFIO_IOMMU_GET_INFO == 0x3b70);
static_assert(VFIO_IOMMU_MAP_DMA == 0x3b71);
static_assert(VFIO_IOMMU_UNMAP_DMA == 0x3b72);
static_assert(VFIO_IOMMU_PASID_REQUEST == 0x3b76);
static_assert(VFIO_IOMMU_NESTING_OP == 0x3b77);

// The only answer of VFIO_GET_API_VERSION (M5.10).
inline constexpr int VFIO_API_VERSION = 0;

// IOMMU types: arguments of VFIO_CHECK_EXTENSION and VFIO_SET_IOMMU (M5.10).
inline constexpr uint32_t VFIO_TYPE1_IOMMU = 1;
inline constexpr uint32_t VFIO_TYPE1v2_IOMMU = 3;
inline constexpr uint32_t VFIO_TYPE1_NESTING_IOMMU = 6;

// Groups (M5.10).
struct vfio_group_status {
  uint32_t argsz;
  uint32_t flags;
};
inline constexpr uint32_t VFIO_GROUP_FLAGS_VIABLE = 1u << 0;
inline constexpr uint32_t VFIO_GROUP_FLAGS_CONTAINER_SET = 1u << 1;
static_assert(sizeof(vfio_group_status) == 8);
static_assert(offsetof(vfio_group_status, flags) == 4);

// Devices (M5.10). The kernel asks for and fills at least the fields up to num_irqs (16
// bytes) and, in a region, all 32.
struct vfio_device_info {
  uint32_t argsz;
  uint32_t flags;
  uint32_t num_regions;
  uint32_t num_irqs;
};
inline constexpr uint32_t VFIO_DEVICE_FLAGS_RESET = 1u << 0;
inline constexpr uint32_t VFIO_DEVICE_FLAGS_PCI = 1u << 1;
static_assert(sizeof(vfio_device_info) == 16);
static_assert(offsetof(vfio_device_info, flags) == 4);
static_assert(offsetof(vfio_device_info, num_regions) == 8);
static_assert(offsetof(vfio_device_info, num_irqs) == 12);

struct vfio_region_info {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t cap_offset;
  uint64_t size;
  uint64_t offset;
};
inline constexpr uint32_t VFIO_REGION_INFO_FLAG_READ = 1u << 0;
inline constexpr uint32_t VFIO_REGION_INFO_FLAG_WRITE = 1u << 1;
inline constexpr uint32_t VFIO_REGION_INFO_FLAG_MMAP = 1u << 2;
static_assert(sizeof(vfio_region_info) == 32);
static_assert(offsetof(vfio_region_info, flags) == 4);
static_assert(offsetof(vfio_region_info, index) == 8);
static_assert(offsetof(vfio_region_info, cap_offset) == 12);
static_assert(offsetof(vfio_region_info, size) == 16);
static_assert(offsetof(vfio_region_info, offset) == 24);

struct vfio_irq_info {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t count;
};
inline constexpr uint32_t VFIO_IRQ_INFO_EVENTFD = 1u << 0;
inline constexpr uint32_t VFIO_IRQ_INFO_NORESIZE = 1u << 3;
static_assert(sizeof(vfio_irq_info) == 16);
static_assert(offsetof(vfio_irq_info, flags) == 4);
static_assert(offsetof(vfio_irq_info, index) == 8);
static_assert(offsetof(vfio_irq_info, count) == 12);

// Regions and interrupts of a PCI device (M5.10).
inline constexpr uint32_t VFIO_PCI_BAR0_REGION_INDEX = 0;
inline constexpr uint32_t VFIO_PCI_ROM_REGION_INDEX = 6;
inline constexpr uint32_t VFIO_PCI_CONFIG_REGION_INDEX = 7;
inline constexpr uint32_t VFIO_PCI_VGA_REGION_INDEX = 8;
inline constexpr uint32_t VFIO_PCI_NUM_REGIONS = 9;
inline constexpr uint32_t VFIO_PCI_ERR_IRQ_INDEX = 3;
inline constexpr uint32_t VFIO_PCI_NUM_IRQS = 5;

// A container's answer about its IOMMU (M5.10): VFIO_IOMMU_GET_INFO.
struct vfio_iommu_type1_info {
  uint32_t argsz;
  uint32_t flags;
  uint64_t iova_pgsizes;
  uint32_t cap_offset;
  uint32_t reserved;  // the tail padding of the kernel's struct
};
inline constexpr uint32_t VFIO_IOMMU_INFO_PGSIZES = 1u << 0;
inline constexpr uint32_t VFIO_IOMMU_INFO_CAPS = 1u << 1;
static_assert(sizeof(vfio_iommu_type1_info) == 24);
static_assert(offsetof(vfio_iommu_type1_info, flags) == 4);
static_assert(offsetof(vfio_iommu_type1_info, iova_pgsizes) == 8);
static_assert(offsetof(vfio_iommu_type1_info, cap_offset) == 16);

// One link of the chain behind it; `next` counts from the start of vfio_iommu_type1_info.
struct vfio_info_cap_header {
  uint16_t id;
  uint16_t version;
  uint32_t next;
};
static_assert(sizeof(vfio_info_cap_header) == 8);
static_assert(offsetof(vfio_info_cap_header, version) == 2);
static_assert(offsetof(vfio_info_cap_header, next) == 4);

// Capability ids. 3 means two things: V6 04 took it for nesting, Linux 5.10 for the number
// of free mapping entries.
inline constexpr uint16_t VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE = 1;
inline constexpr uint16_t VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION = 2;
inline constexpr uint16_t VFIO_IOMMU_TYPE1_INFO_CAP_NESTING = 3;
inline constexpr uint16_t VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL = 3;

// IOVA_RANGE (M5.10): the header, then nr_iovas ranges, both ends inclusive.
struct vfio_iova_range {
  uint64_t start;
  uint64_t end;
};
struct vfio_iommu_type1_info_cap_iova_range {
  vfio_info_cap_header header;
  uint32_t nr_iovas;
  uint32_t reserved;
};
static_assert(sizeof(vfio_iova_range) == 16);
static_assert(sizeof(vfio_iommu_type1_info_cap_iova_range) == 16);
static_assert(offsetof(vfio_iommu_type1_info_cap_iova_range, nr_iovas) == 8);

// MIGRATION (M5.10).
struct vfio_iommu_type1_info_cap_migration {
  vfio_info_cap_header header;
  uint32_t flags;
  uint32_t reserved;
  uint64_t pgsize_bitmap;
  uint64_t max_dirty_bitmap_size;
};
static_assert(sizeof(vfio_iommu_type1_info_cap_migration) == 32);
static_assert(offsetof(vfio_iommu_type1_info_cap_migration, flags) == 8);
static_assert(offsetof(vfio_iommu_type1_info_cap_migration, pgsize_bitmap) == 16);
static_assert(offsetof(vfio_iommu_type1_info_cap_migration, max_dirty_bitmap_size) == 24);

// DMA_AVAIL (M5.10).
struct vfio_iommu_type1_info_dma_avail {
  vfio_info_cap_header header;
  uint32_t avail;
};
static_assert(sizeof(vfio_iommu_type1_info_dma_avail) == 12);
static_assert(offsetof(vfio_iommu_type1_info_dma_avail, avail) == 8);

// NESTING (V6 04): the header, then iommu_nesting_info, then what its `format` names.

// Stage 2 (M5.10).
struct vfio_iommu_type1_dma_map {
  uint32_t argsz;
  uint32_t flags;
  uint64_t vaddr;  // in the caller's address space
  uint64_t iova;   // here: a guest physical address
  uint64_t size;   // bytes
};
inline constexpr uint32_t VFIO_DMA_MAP_FLAG_READ = 1u << 0;
inline constexpr uint32_t VFIO_DMA_MAP_FLAG_WRITE = 1u << 1;
static_assert(sizeof(vfio_iommu_type1_dma_map) == 32);
static_assert(offsetof(vfio_iommu_type1_dma_map, flags) == 4);
static_assert(offsetof(vfio_iommu_type1_dma_map, vaddr) == 8);
static_assert(offsetof(vfio_iommu_type1_dma_map, iova) == 16);
static_assert(offsetof(vfio_iommu_type1_dma_map, size) == 24);

struct vfio_iommu_type1_dma_unmap {
  uint32_t argsz;
  uint32_t flags;
  uint64_t iova;
  uint64_t size;  // written back: bytes that were unmapped
};
static_assert(sizeof(vfio_iommu_type1_dma_unmap) == 24);
static_assert(offsetof(vfio_iommu_type1_dma_unmap, flags) == 4);
static_assert(offsetof(vfio_iommu_type1_dma_unmap, iova) == 8);
static_assert(offsetof(vfio_iommu_type1_dma_unmap, size) == 16);

// VFIO_IOMMU_PASID_REQUEST (V6 07). ALLOC returns the PASID as the ioctl's result.
struct vfio_iommu_type1_pasid_request {
  uint32_t argsz;
  uint32_t flags;  // exactly one of the two
  struct {
    uint32_t min;  // inclusive
    uint32_t max;  // inclusive
  } range;
};
inline constexpr uint32_t VFIO_IOMMU_FLAG_ALLOC_PASID = 1u << 0;
inline constexpr uint32_t VFIO_IOMMU_FLAG_FREE_PASID = 1u << 1;
static_assert(sizeof(vfio_iommu_type1_pasid_request) == 16);
static_assert(offsetof(vfio_iommu_type1_pasid_request, flags) == 4);
static_assert(offsetof(vfio_iommu_type1_pasid_request, range.min) == 8);
static_assert(offsetof(vfio_iommu_type1_pasid_request, range.max) == 12);

// VFIO_IOMMU_NESTING_OP (V6 10, V6 11). The kernel's struct ends in data[], which holds
// iommu_gpasid_bind_data or iommu_cache_invalidate_info; here that struct simply follows.
struct vfio_iommu_type1_nesting_op {
  uint32_t argsz;  // with the data
  uint32_t flags;  // the operation in the low 16 bits
};
inline constexpr uint32_t VFIO_NESTING_OP_MASK = 0xffff;
inline constexpr uint32_t VFIO_IOMMU_NESTING_OP_BIND_PGTBL = 0;
inline constexpr uint32_t VFIO_IOMMU_NESTING_OP_UNBIND_PGTBL = 1;
inline constexpr uint32_t VFIO_IOMMU_NESTING_OP_CACHE_INVLD = 2;
static_assert(sizeof(vfio_iommu_type1_nesting_op) == 8);
static_assert(offsetof(vfio_iommu_type1_nesting_op, flags) == 4);

}  // namespace nestor::kernel::uapi
// NOLINTEND(readability-identifier-naming)
