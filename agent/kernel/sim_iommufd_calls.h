// The ioctls of /dev/iommu, each with its struct as the caller gave it, what it did not give
// being zero. Results are 0 or -errno; what is to be written back is in the struct.
#pragma once

#include "agent/kernel/sim_file.h"
#include "agent/kernel/sim_iommufd.h"
#include "agent/kernel/uapi/iommufd.h"

namespace nestor::kernel {

// Who calls, and on what.
struct SimIommufdCall {
  SimTask& task;
  SimIommufd& context;
};

int IoasAlloc(SimIommufdCall& call, uapi::iommu_ioas_alloc* alloc);
int IoasAllowIovas(SimIommufdCall& call, uapi::iommu_ioas_allow_iovas* allow);
// -EMSGSIZE: the array is too short; num_iovas says how long it must be.
int IoasIovaRanges(SimIommufdCall& call, uapi::iommu_ioas_iova_ranges* ranges);
int IoasMap(SimIommufdCall& call, uapi::iommu_ioas_map* map);
int IoasMapFile(SimIommufdCall& call, uapi::iommu_ioas_map_file* map);
int IoasCopy(SimIommufdCall& call, uapi::iommu_ioas_copy* copy);
int IoasUnmap(SimIommufdCall& call, uapi::iommu_ioas_unmap* unmap);
int IoasChangeProcess(SimIommufdCall& call, uapi::iommu_ioas_change_process* change);
int Option(SimIommufdCall& call, uapi::iommu_option* option);
int VfioIoas(SimIommufdCall& call, uapi::iommu_vfio_ioas* ioas);

int GetHwInfo(SimIommufdCall& call, uapi::iommu_hw_info* info);
int HwptAlloc(SimIommufdCall& call, uapi::iommu_hwpt_alloc* alloc);
// entry_num says how many were done, whatever the result.
int HwptInvalidate(SimIommufdCall& call, uapi::iommu_hwpt_invalidate* invalidate);
int ViommuAlloc(SimIommufdCall& call, uapi::iommu_viommu_alloc* alloc);
int VdeviceAlloc(SimIommufdCall& call, uapi::iommu_vdevice_alloc* alloc);

}  // namespace nestor::kernel
