// The kernel's numbers and structs of VFIO device files (/dev/vfio/devices/vfioN): binding a
// device to an iommufd and attaching it, or one of its PASIDs, to a page table.
//
// Conventions as in agent/kernel/uapi/vfio_type1_nesting.h, which has the rest of VFIO.
// Source: include/uapi/linux/vfio.h of Linux 7.2. BIND and ATTACH have the numbers that the
// nesting series gave to two requests of a container.
// NOLINTBEGIN(readability-identifier-naming): the kernel's names.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nestor::kernel::uapi {

inline constexpr uint32_t VFIO_DEVICE_FEATURE = 0x3b75;
inline constexpr uint32_t VFIO_DEVICE_BIND_IOMMUFD = 0x3b76;       // Linux 6.6
inline constexpr uint32_t VFIO_DEVICE_ATTACH_IOMMUFD_PT = 0x3b77;  // Linux 6.6
inline constexpr uint32_t VFIO_DEVICE_DETACH_IOMMUFD_PT = 0x3b78;  // Linux 6.6

struct vfio_device_bind_iommufd {
  uint32_t argsz;
  uint32_t flags;
  int32_t iommufd;
  uint32_t out_devid;
  uint64_t token_uuid_ptr;  // Linux 6.17
};
inline constexpr uint32_t VFIO_DEVICE_BIND_FLAG_TOKEN = 1u << 0;
// The struct up to token_uuid_ptr, which every kernel takes.
inline constexpr uint32_t VFIO_DEVICE_BIND_MIN_SIZE = 16;
static_assert(sizeof(vfio_device_bind_iommufd) == 24);
static_assert(offsetof(vfio_device_bind_iommufd, flags) == 4);
static_assert(offsetof(vfio_device_bind_iommufd, iommufd) == 8);
static_assert(offsetof(vfio_device_bind_iommufd, out_devid) == 12);
static_assert(offsetof(vfio_device_bind_iommufd, token_uuid_ptr) == 16);

struct vfio_device_attach_iommufd_pt {
  uint32_t argsz;
  uint32_t flags;
  uint32_t pt_id;  // of a HWPT or an IOAS; written back: of the HWPT
  uint32_t pasid;  // Linux 6.15
};
inline constexpr uint32_t VFIO_DEVICE_ATTACH_PASID = 1u << 0;
// The struct up to pasid, which every kernel takes.
inline constexpr uint32_t VFIO_DEVICE_ATTACH_MIN_SIZE = 12;
static_assert(sizeof(vfio_device_attach_iommufd_pt) == 16);
static_assert(offsetof(vfio_device_attach_iommufd_pt, flags) == 4);
static_assert(offsetof(vfio_device_attach_iommufd_pt, pt_id) == 8);
static_assert(offsetof(vfio_device_attach_iommufd_pt, pasid) == 12);

struct vfio_device_detach_iommufd_pt {
  uint32_t argsz;
  uint32_t flags;
  uint32_t pasid;  // Linux 6.15
};
inline constexpr uint32_t VFIO_DEVICE_DETACH_PASID = 1u << 0;
inline constexpr uint32_t VFIO_DEVICE_DETACH_MIN_SIZE = 8;
static_assert(sizeof(vfio_device_detach_iommufd_pt) == 12);
static_assert(offsetof(vfio_device_detach_iommufd_pt, flags) == 4);
static_assert(offsetof(vfio_device_detach_iommufd_pt, pasid) == 8);

// A feature in the low 16 bits of the flags, what to do with it above; its data follows.
struct vfio_device_feature {
  uint32_t argsz;  // with the data
  uint32_t flags;
};
inline constexpr uint32_t VFIO_DEVICE_FEATURE_MASK = 0xffff;
inline constexpr uint32_t VFIO_DEVICE_FEATURE_GET = 1u << 16;
inline constexpr uint32_t VFIO_DEVICE_FEATURE_SET = 1u << 17;
inline constexpr uint32_t VFIO_DEVICE_FEATURE_PROBE = 1u << 18;
static_assert(sizeof(vfio_device_feature) == 8);
static_assert(offsetof(vfio_device_feature, flags) == 4);

}  // namespace nestor::kernel::uapi
// NOLINTEND(readability-identifier-naming)
