// The kernel's numbers and structs of iommufd (/dev/iommu), and of the VFIO device files that
// go with it.
//
// Names, spelling and values are the kernel's, kept in a namespace: never include
// <linux/iommufd.h> or <linux/vfio.h> in the same source file, their macros have these names.
// Little endian, 64-bit. Source: include/uapi/linux/iommufd.h of Linux 7.2; a release beside
// a name is the first one that has it, nothing beside it means 6.8 or earlier.
//
// Every struct begins with its size. A kernel that knows more takes a shorter struct; one
// that knows less takes a longer one whose tail is zero (else E2BIG). A number it does not
// know is ENOTTY; a flag or type that it does not, EOPNOTSUPP.
// NOLINTBEGIN(readability-identifier-naming): the kernel's names.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "agent/kernel/uapi/iommufd_hardware.h"
#include "agent/kernel/uapi/vfio_cdev.h"

namespace nestor::kernel::uapi {

static_assert(std::endian::native == std::endian::little);

// Requests of ioctl(2): _IO(IOMMUFD_TYPE, n).
inline constexpr uint32_t IOMMUFD_TYPE = ';';
constexpr uint32_t IommufdRequest(uint32_t n) { return IOMMUFD_TYPE << 8 | n; }

inline constexpr uint32_t IOMMU_DESTROY = IommufdRequest(0x80);
inline constexpr uint32_t IOMMU_IOAS_ALLOC = IommufdRequest(0x81);
inline constexpr uint32_t IOMMU_IOAS_ALLOW_IOVAS = IommufdRequest(0x82);
inline constexpr uint32_t IOMMU_IOAS_COPY = IommufdRequest(0x83);
inline constexpr uint32_t IOMMU_IOAS_IOVA_RANGES = IommufdRequest(0x84);
inline constexpr uint32_t IOMMU_IOAS_MAP = IommufdRequest(0x85);
inline constexpr uint32_t IOMMU_IOAS_UNMAP = IommufdRequest(0x86);
inline constexpr uint32_t IOMMU_OPTION = IommufdRequest(0x87);
inline constexpr uint32_t IOMMU_VFIO_IOAS = IommufdRequest(0x88);
inline constexpr uint32_t IOMMU_HWPT_ALLOC = IommufdRequest(0x89);
inline constexpr uint32_t IOMMU_GET_HW_INFO = IommufdRequest(0x8a);
inline constexpr uint32_t IOMMU_HWPT_SET_DIRTY_TRACKING = IommufdRequest(0x8b);
inline constexpr uint32_t IOMMU_HWPT_GET_DIRTY_BITMAP = IommufdRequest(0x8c);
inline constexpr uint32_t IOMMU_HWPT_INVALIDATE = IommufdRequest(0x8d);
inline constexpr uint32_t IOMMU_FAULT_QUEUE_ALLOC = IommufdRequest(0x8e);    // Linux 6.11
inline constexpr uint32_t IOMMU_IOAS_MAP_FILE = IommufdRequest(0x8f);        // Linux 6.13
inline constexpr uint32_t IOMMU_VIOMMU_ALLOC = IommufdRequest(0x90);         // Linux 6.13
inline constexpr uint32_t IOMMU_VDEVICE_ALLOC = IommufdRequest(0x91);        // Linux 6.13
inline constexpr uint32_t IOMMU_IOAS_CHANGE_PROCESS = IommufdRequest(0x92);  // Linux 6.13
inline constexpr uint32_t IOMMU_VEVENTQ_ALLOC = IommufdRequest(0x93);        // Linux 6.15
inline constexpr uint32_t IOMMU_HW_QUEUE_ALLOC = IommufdRequest(0x94);       // Linux 6.17
static_assert(IOMMU_DESTROY == 0x3b80);
static_assert(IOMMU_HW_QUEUE_ALLOC == 0x3b94);

struct iommu_destroy {
  uint32_t size;
  uint32_t id;
};
static_assert(sizeof(iommu_destroy) == 8);
static_assert(offsetof(iommu_destroy, id) == 4);

// An I/O address space: guest physical addresses to a process's memory.
struct iommu_ioas_alloc {
  uint32_t size;
  uint32_t flags;  // 0
  uint32_t out_ioas_id;
};
static_assert(sizeof(iommu_ioas_alloc) == 12);
static_assert(offsetof(iommu_ioas_alloc, flags) == 4);
static_assert(offsetof(iommu_ioas_alloc, out_ioas_id) == 8);

struct iommu_iova_range {
  uint64_t start;
  uint64_t last;  // inclusive
};
static_assert(sizeof(iommu_iova_range) == 16);
static_assert(offsetof(iommu_iova_range, last) == 8);

struct iommu_ioas_iova_ranges {
  uint32_t size;
  uint32_t ioas_id;
  uint32_t num_iovas;  // room in the array; written back: how many there are
  uint32_t reserved;
  uint64_t allowed_iovas;  // address of an array of iommu_iova_range
  uint64_t out_iova_alignment;
};
static_assert(sizeof(iommu_ioas_iova_ranges) == 32);
static_assert(offsetof(iommu_ioas_iova_ranges, ioas_id) == 4);
static_assert(offsetof(iommu_ioas_iova_ranges, num_iovas) == 8);
static_assert(offsetof(iommu_ioas_iova_ranges, reserved) == 12);
static_assert(offsetof(iommu_ioas_iova_ranges, allowed_iovas) == 16);
static_assert(offsetof(iommu_ioas_iova_ranges, out_iova_alignment) == 24);

struct iommu_ioas_allow_iovas {
  uint32_t size;
  uint32_t ioas_id;
  uint32_t num_iovas;
  uint32_t reserved;
  uint64_t allowed_iovas;
};
static_assert(sizeof(iommu_ioas_allow_iovas) == 24);
static_assert(offsetof(iommu_ioas_allow_iovas, ioas_id) == 4);
static_assert(offsetof(iommu_ioas_allow_iovas, num_iovas) == 8);
static_assert(offsetof(iommu_ioas_allow_iovas, reserved) == 12);
static_assert(offsetof(iommu_ioas_allow_iovas, allowed_iovas) == 16);

// Of the three calls that map.
inline constexpr uint32_t IOMMU_IOAS_MAP_FIXED_IOVA = 1u << 0;
inline constexpr uint32_t IOMMU_IOAS_MAP_WRITEABLE = 1u << 1;
inline constexpr uint32_t IOMMU_IOAS_MAP_READABLE = 1u << 2;

struct iommu_ioas_map {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  uint32_t reserved;
  uint64_t user_va;
  uint64_t length;  // bytes
  uint64_t iova;    // here: a guest physical address; written back if it was not fixed
};
static_assert(sizeof(iommu_ioas_map) == 40);
static_assert(offsetof(iommu_ioas_map, flags) == 4);
static_assert(offsetof(iommu_ioas_map, ioas_id) == 8);
static_assert(offsetof(iommu_ioas_map, reserved) == 12);
static_assert(offsetof(iommu_ioas_map, user_va) == 16);
static_assert(offsetof(iommu_ioas_map, length) == 24);
static_assert(offsetof(iommu_ioas_map, iova) == 32);

struct iommu_ioas_map_file {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  int32_t fd;
  uint64_t start;  // in the file
  uint64_t length;
  uint64_t iova;
};
static_assert(sizeof(iommu_ioas_map_file) == 40);
static_assert(offsetof(iommu_ioas_map_file, flags) == 4);
static_assert(offsetof(iommu_ioas_map_file, ioas_id) == 8);
static_assert(offsetof(iommu_ioas_map_file, fd) == 12);
static_assert(offsetof(iommu_ioas_map_file, start) == 16);
static_assert(offsetof(iommu_ioas_map_file, length) == 24);
static_assert(offsetof(iommu_ioas_map_file, iova) == 32);

struct iommu_ioas_copy {
  uint32_t size;
  uint32_t flags;
  uint32_t dst_ioas_id;
  uint32_t src_ioas_id;
  uint64_t length;
  uint64_t dst_iova;
  uint64_t src_iova;
};
static_assert(sizeof(iommu_ioas_copy) == 40);
static_assert(offsetof(iommu_ioas_copy, flags) == 4);
static_assert(offsetof(iommu_ioas_copy, dst_ioas_id) == 8);
static_assert(offsetof(iommu_ioas_copy, src_ioas_id) == 12);
static_assert(offsetof(iommu_ioas_copy, length) == 16);
static_assert(offsetof(iommu_ioas_copy, dst_iova) == 24);
static_assert(offsetof(iommu_ioas_copy, src_iova) == 32);

struct iommu_ioas_unmap {
  uint32_t size;
  uint32_t ioas_id;
  uint64_t iova;
  uint64_t length;  // written back: bytes that were unmapped
};
static_assert(sizeof(iommu_ioas_unmap) == 24);
static_assert(offsetof(iommu_ioas_unmap, ioas_id) == 4);
static_assert(offsetof(iommu_ioas_unmap, iova) == 8);
static_assert(offsetof(iommu_ioas_unmap, length) == 16);

// Moves the accounting of what is pinned to the calling process.
struct iommu_ioas_change_process {
  uint32_t size;
  uint32_t reserved;
};
static_assert(sizeof(iommu_ioas_change_process) == 8);
static_assert(offsetof(iommu_ioas_change_process, reserved) == 4);

struct iommu_option {
  uint32_t size;
  uint32_t option_id;
  uint16_t op;
  uint16_t reserved;
  uint32_t object_id;
  uint64_t val64;
};
inline constexpr uint32_t IOMMU_OPTION_RLIMIT_MODE = 0;
inline constexpr uint32_t IOMMU_OPTION_HUGE_PAGES = 1;
inline constexpr uint16_t IOMMU_OPTION_OP_SET = 0;
inline constexpr uint16_t IOMMU_OPTION_OP_GET = 1;
static_assert(sizeof(iommu_option) == 24);
static_assert(offsetof(iommu_option, option_id) == 4);
static_assert(offsetof(iommu_option, op) == 8);
static_assert(offsetof(iommu_option, reserved) == 10);
static_assert(offsetof(iommu_option, object_id) == 12);
static_assert(offsetof(iommu_option, val64) == 16);

// The IOAS of the calls that came from a VFIO container.
struct iommu_vfio_ioas {
  uint32_t size;
  uint32_t ioas_id;
  uint16_t op;
  uint16_t reserved;
};
inline constexpr uint16_t IOMMU_VFIO_IOAS_GET = 0;
inline constexpr uint16_t IOMMU_VFIO_IOAS_SET = 1;
inline constexpr uint16_t IOMMU_VFIO_IOAS_CLEAR = 2;
static_assert(sizeof(iommu_vfio_ioas) == 12);
static_assert(offsetof(iommu_vfio_ioas, ioas_id) == 4);
static_assert(offsetof(iommu_vfio_ioas, op) == 8);
static_assert(offsetof(iommu_vfio_ioas, reserved) == 10);

// A page table of the hardware: over an IOAS, or nested in one of those.
struct iommu_hwpt_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t dev_id;
  uint32_t pt_id;  // of an IOAS, a nest parent or a vIOMMU
  uint32_t out_hwpt_id;
  uint32_t reserved;
  uint32_t data_type;
  uint32_t data_len;
  uint64_t data_uptr;
  uint32_t fault_id;  // Linux 6.11
  uint32_t reserved2;
};
inline constexpr uint32_t IOMMU_HWPT_ALLOC_NEST_PARENT = 1u << 0;
inline constexpr uint32_t IOMMU_HWPT_ALLOC_DIRTY_TRACKING = 1u << 1;
inline constexpr uint32_t IOMMU_HWPT_FAULT_ID_VALID = 1u << 2;  // Linux 6.11
inline constexpr uint32_t IOMMU_HWPT_ALLOC_PASID = 1u << 3;     // Linux 6.15
inline constexpr uint32_t IOMMU_HWPT_ALLOC_MIN_SIZE = 24;
static_assert(sizeof(iommu_hwpt_alloc) == 48);
static_assert(offsetof(iommu_hwpt_alloc, flags) == 4);
static_assert(offsetof(iommu_hwpt_alloc, dev_id) == 8);
static_assert(offsetof(iommu_hwpt_alloc, pt_id) == 12);
static_assert(offsetof(iommu_hwpt_alloc, out_hwpt_id) == 16);
static_assert(offsetof(iommu_hwpt_alloc, reserved) == 20);
static_assert(offsetof(iommu_hwpt_alloc, data_type) == 24);
static_assert(offsetof(iommu_hwpt_alloc, data_len) == 28);
static_assert(offsetof(iommu_hwpt_alloc, data_uptr) == 32);
static_assert(offsetof(iommu_hwpt_alloc, fault_id) == 40);
static_assert(offsetof(iommu_hwpt_alloc, reserved2) == 44);

struct iommu_hw_info {
  uint32_t size;
  uint32_t flags;
  uint32_t dev_id;
  uint32_t data_len;  // room; written back: bytes that the kernel has
  uint64_t data_uptr;
  uint32_t out_data_type;
  // Bits of a PASID, 0: none. Linux 6.15; stable kernels since 6.12.31 say it too, but
  // cannot attach one.
  uint8_t out_max_pasid_log2;
  uint8_t reserved[3];
  uint64_t out_capabilities;
};
inline constexpr uint32_t IOMMU_HW_INFO_FLAG_INPUT_TYPE = 1u << 0;  // Linux 6.17
inline constexpr uint64_t IOMMU_HW_CAP_DIRTY_TRACKING = 1ull << 0;
inline constexpr uint64_t IOMMU_HW_CAP_PCI_PASID_EXEC = 1ull << 1;
inline constexpr uint64_t IOMMU_HW_CAP_PCI_PASID_PRIV = 1ull << 2;
inline constexpr uint64_t IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED = 1ull << 3;  // Linux 7.1
inline constexpr uint32_t IOMMU_HW_INFO_MIN_SIZE = 32;
static_assert(sizeof(iommu_hw_info) == 40);
static_assert(offsetof(iommu_hw_info, flags) == 4);
static_assert(offsetof(iommu_hw_info, dev_id) == 8);
static_assert(offsetof(iommu_hw_info, data_len) == 12);
static_assert(offsetof(iommu_hw_info, data_uptr) == 16);
static_assert(offsetof(iommu_hw_info, out_data_type) == 24);
static_assert(offsetof(iommu_hw_info, out_max_pasid_log2) == 28);
static_assert(offsetof(iommu_hw_info, reserved) == 29);
static_assert(offsetof(iommu_hw_info, out_capabilities) == 32);

struct iommu_hwpt_invalidate {
  uint32_t size;
  uint32_t hwpt_id;  // of a nested HWPT or a vIOMMU
  uint64_t data_uptr;
  uint32_t data_type;
  uint32_t entry_len;
  uint32_t entry_num;  // written back: how many were done
  uint32_t reserved;
};
static_assert(sizeof(iommu_hwpt_invalidate) == 32);
static_assert(offsetof(iommu_hwpt_invalidate, hwpt_id) == 4);
static_assert(offsetof(iommu_hwpt_invalidate, data_uptr) == 8);
static_assert(offsetof(iommu_hwpt_invalidate, data_type) == 16);
static_assert(offsetof(iommu_hwpt_invalidate, entry_len) == 20);
static_assert(offsetof(iommu_hwpt_invalidate, entry_num) == 24);
static_assert(offsetof(iommu_hwpt_invalidate, reserved) == 28);

struct iommu_fault_alloc {
  uint32_t size;
  uint32_t flags;  // 0
  uint32_t out_fault_id;
  uint32_t out_fault_fd;
};
static_assert(sizeof(iommu_fault_alloc) == 16);
static_assert(offsetof(iommu_fault_alloc, flags) == 4);
static_assert(offsetof(iommu_fault_alloc, out_fault_id) == 8);
static_assert(offsetof(iommu_fault_alloc, out_fault_fd) == 12);

// A guest's share of an IOMMU, over a nest parent.
struct iommu_viommu_alloc {
  uint32_t size;
  uint32_t flags;  // 0
  uint32_t type;
  uint32_t dev_id;
  uint32_t hwpt_id;
  uint32_t out_viommu_id;
  uint32_t data_len;  // this and what follows: Linux 6.17
  uint32_t reserved;
  uint64_t data_uptr;
};
inline constexpr uint32_t IOMMU_VIOMMU_ALLOC_MIN_SIZE = 24;
static_assert(sizeof(iommu_viommu_alloc) == 40);
static_assert(offsetof(iommu_viommu_alloc, flags) == 4);
static_assert(offsetof(iommu_viommu_alloc, type) == 8);
static_assert(offsetof(iommu_viommu_alloc, dev_id) == 12);
static_assert(offsetof(iommu_viommu_alloc, hwpt_id) == 16);
static_assert(offsetof(iommu_viommu_alloc, out_viommu_id) == 20);
static_assert(offsetof(iommu_viommu_alloc, data_len) == 24);
static_assert(offsetof(iommu_viommu_alloc, reserved) == 28);
static_assert(offsetof(iommu_viommu_alloc, data_uptr) == 32);

// A device's name there.
struct iommu_vdevice_alloc {
  uint32_t size;
  uint32_t viommu_id;
  uint32_t dev_id;
  uint32_t out_vdevice_id;
  uint64_t virt_id;  // SMMUv3: the stream id that the guest knows
};
static_assert(sizeof(iommu_vdevice_alloc) == 24);
static_assert(offsetof(iommu_vdevice_alloc, viommu_id) == 4);
static_assert(offsetof(iommu_vdevice_alloc, dev_id) == 8);
static_assert(offsetof(iommu_vdevice_alloc, out_vdevice_id) == 12);
static_assert(offsetof(iommu_vdevice_alloc, virt_id) == 16);

}  // namespace nestor::kernel::uapi
// NOLINTEND(readability-identifier-naming)
