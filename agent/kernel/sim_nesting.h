// VFIO_IOMMU_PASID_REQUEST and VFIO_IOMMU_NESTING_OP of the series.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "agent/kernel/sim_file.h"
#include "agent/kernel/sim_pasid_set.h"
#include "agent/kernel/sim_stage2.h"

namespace nestor::kernel {

struct SimSystem;

// A container that nests: it has one domain with one group. It owns no bindings, these are
// of the devices; PASIDs are of the process that set it up, whichever container it uses.
class SimNesting {
 public:
  // `pasids`: null where the IOMMU driver asks for no system-wide PASIDs. The references must
  // outlive this.
  SimNesting(SimSystem& system, const SimStage2& stage2, std::vector<int> devices,
             std::shared_ptr<SimPasidSet> pasids)
      : system_(system),
        stage2_(stage2),
        devices_(std::move(devices)),
        pasids_(std::move(pasids)) {}

  SimPasidSet* pasids() const { return pasids_.get(); }
  // Whether the driver offers uapi::IOMMU_NESTING_FEAT_*.
  bool Offers(uint32_t feature) const;

  // `data` is the address of an iommu_gpasid_bind_data, which is read anew for each device.
  // A bind that fails on one device is undone on all, whatever was bound there before, and
  // the first error returned.
  int Bind(const UserMemory& memory, uint64_t data);
  // 0, whatever happened on the devices.
  int Unbind(const UserMemory& memory, uint64_t data);
  // `info` is the address of an iommu_cache_invalidate_info. 0, as for Unbind.
  int Invalidate(const UserMemory& memory, uint64_t info);

 private:
  int BindOn(int device, const UserMemory& memory, uint64_t data);
  int UnbindOn(int device, const UserMemory& memory, uint64_t data);
  int InvalidateOn(int device, const UserMemory& memory, uint64_t info);

  SimSystem& system_;
  const SimStage2& stage2_;
  const std::vector<int> devices_;
  const std::shared_ptr<SimPasidSet> pasids_;
};

// The two ioctls on a container with an IOMMU; `nesting` is null where it does not nest.
// PasidRequest: the PASID (ALLOC) or 0 (FREE). -EOPNOTSUPP: no PASIDs here.
int PasidRequest(SimTask& task, uint64_t argument, SimNesting* nesting);
// -EINVAL: malformed, or an operation that is not known; -EOPNOTSUPP: the container or the
// driver does not do it.
int NestingOperation(SimTask& task, uint64_t argument, SimNesting* nesting);

}  // namespace nestor::kernel
