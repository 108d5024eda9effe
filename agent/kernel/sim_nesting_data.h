// The IOMMU core's part of the nesting calls: structs copied from user memory and checked,
// whatever the hardware is (drivers/iommu/iommu.c of 5.10).
#pragma once

#include <cstdint>

#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "agent/kernel/user_memory.h"

namespace nestor::kernel {

// 0; -EFAULT: not readable as far as it says it goes; -EINVAL: too short, or a version,
// format, flag or padding that this kernel does not know. What lies beyond the end of the
// user's struct is zero; a longer one is cut.
int CopyBindData(const UserMemory& memory, uint64_t address, uapi::iommu_gpasid_bind_data* data);
int CopyInvalidateInfo(const UserMemory& memory, uint64_t address,
                       uapi::iommu_cache_invalidate_info* info);

}  // namespace nestor::kernel
