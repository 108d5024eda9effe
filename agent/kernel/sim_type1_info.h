// The answer of VFIO_IOMMU_GET_INFO, with its chain of capabilities.
#pragma once

#include <cstdint>
#include <vector>

#include "agent/kernel/sim_machine.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"

namespace nestor::kernel {

// Where a container may map: everything the IOMMU can address but what ReservedIovas has.
std::vector<uapi::vfio_iova_range> ValidIovaRanges(const SimIommuProperties& iommu);

// Page sizes that stage 2 has, as a bitmap.
uint64_t PageSizes(SimPersonality personality);

// The capabilities of a container of `machine`, linked, to follow directly on
// vfio_iommu_type1_info. `mappings`: how many it has; `nesting`: whether it nests.
std::vector<uint8_t> Type1Capabilities(const SimMachine& machine, size_t mappings, bool nesting);

}  // namespace nestor::kernel
