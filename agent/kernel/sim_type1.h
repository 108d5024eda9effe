// The type1 IOMMU driver of VFIO: what a container does once its IOMMU is set.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "agent/kernel/sim_file.h"
#include "agent/kernel/sim_nesting.h"
#include "agent/kernel/sim_stage2.h"

namespace nestor::kernel {

struct SimSystem;
class SimVfioGroup;

// One container's mappings and groups. Destruction detaches and unmaps all.
class SimType1 {
 public:
  // `type`: uapi::VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU or VFIO_TYPE1_NESTING_IOMMU.
  SimType1(SimSystem& system, uint32_t type) : system_(system), type_(type) {}
  ~SimType1();
  SimType1(const SimType1&) = delete;
  SimType1& operator=(const SimType1&) = delete;

  // 0, or -EPERM: interrupts are not isolated. When nesting: -EINVAL, of SMMUv3 -EPERM: it has
  // a group, or the kernel cannot nest; -ENODEV: the hardware cannot; -ENOTTY: kernel without
  // CONFIG_VFIO_PASID; -ENOSPC: no quota left.
  int AttachGroup(SimTask& task, const SimVfioGroup& group);
  // Unbinds what is bound on its devices, and with the last group unmaps everything.
  void DetachGroup(const SimVfioGroup& group);

  int Ioctl(SimTask& task, uint32_t request, uint64_t argument);

 private:
  // What a process mapped.
  struct Mapping {
    uint64_t size = 0;
    uint64_t frame = 0;     // host physical
    int address_space = 0;  // of the process
  };
  using Mappings = std::map<uint64_t, Mapping>;  // by IOVA

  bool is_nesting() const;
  int StartNesting(const SimTask& task, const SimVfioGroup& group);
  int GetInfo(SimTask& task, uint64_t argument) const;
  int MapDma(SimTask& task, uint64_t argument);
  int UnmapDma(SimTask& task, uint64_t argument);
  // Whether the range cuts a mapping in two.
  bool Bisects(uint64_t iova, uint64_t last);
  // The first mapping that touches [iova, last].
  Mappings::iterator FindMapping(uint64_t iova, uint64_t last);
  Mappings::iterator Remove(Mappings::iterator mapping);

  SimSystem& system_;
  const uint32_t type_;
  SimStage2 stage2_;
  Mappings mappings_;
  std::vector<const SimVfioGroup*> groups_;
  std::unique_ptr<SimNesting> nesting_;  // null: this container does not nest
};

}  // namespace nestor::kernel
