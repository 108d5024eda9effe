// The VT-d driver's part of the nesting calls: what hardware and owner allow
// (drivers/iommu/intel of 5.10, with the series' test of the owner).
#pragma once

#include <cstdint>

#include "agent/kernel/sim_pasid_set.h"
#include "agent/kernel/sim_stage2.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"

namespace nestor::kernel {

struct SimSystem;

// Binds on one device of the domain `stage2`; the caller owns `pasids`. In this order:
// -EINVAL: not VT-d's format, too short, or unknown flags; -524 (ENOTSUPP): not a PCI device;
// -EINVAL: its PASIDs have not 20 bits, or the PASID is 0 or beyond them; -ENOENT: not
// allocated; -EACCES: another process's; -EBUSY: bound on this device; -EINVAL: a width, root
// or flag that the hardware cannot do.
int VtdBind(SimSystem& system, const SimPasidSet* pasids, const SimStage2& stage2, int device,
            const uapi::iommu_gpasid_bind_data& data);

// 0 also where it is not bound. -ENOENT, -EACCES: not the caller's PASID.
int VtdUnbind(SimSystem& system, const SimPasidSet* pasids, int device, uint64_t pasid);

// Drops from the IOTLB what `info` names, as far as the driver goes: DOMAIN granularity, the
// PASID cache, and the device's own IOTLB alone are passed over without an error. A range is
// widened to a power of two of pages, and the hardware then ignores the address bits below
// that size. -ENOENT, -EACCES: not the caller's PASID.
int VtdInvalidate(SimSystem& system, const SimPasidSet* pasids, int device,
                  const uapi::iommu_cache_invalidate_info& info);

}  // namespace nestor::kernel
