#include "agent/kernel/sim_hwpt.h"

#include <cerrno>
#include <utility>

#include "agent/kernel/sim_system.h"
#include "agent/kernel/sim_viommu.h"

namespace nestor::kernel {
namespace {

constexpr uint64_t kPageMask = 4095;

bool HasFlag(uint32_t flags, uint32_t flag) { return (flags & flag) != 0; }

// A first stage as VT-d's PASID table entry holds it. Bits of the root below a page are no part
// of that and are lost, as are flags that are not known.
SimStage1 MakeStage1(const uapi::iommu_hwpt_vtd_s1& data) {
  const bool supervisor = (data.flags & uapi::IOMMU_VTD_S1_SRE) != 0;
  return {.root = data.pgtbl_addr & ~kPageMask,
          .address_width = data.addr_width,
          .supervisor_request = supervisor,
          .extended_accessed_flag = (data.flags & uapi::IOMMU_VTD_S1_EAFE) != 0,
          .write_protect = supervisor && (data.flags & uapi::IOMMU_VTD_S1_WPE) != 0};
}

bool HardwareCan(const SimIommuProperties& iommu, const SimStage1& stage1) {
  const bool five_levels = iommu.first_level_5_levels;
  if (stage1.address_width != 48 && !(stage1.address_width == 57 && five_levels)) return false;
  if (stage1.supervisor_request && !iommu.supervisor_requests) return false;
  return !stage1.extended_accessed_flag || iommu.extended_accessed_flag;
}

}  // namespace

SimHwpt::SimHwpt(SimSystem& system, bool is_pasid_compatible)
    : system_(system), is_pasid_compatible_(is_pasid_compatible) {
  ++system_.hwpts;
}

SimHwpt::~SimHwpt() { --system_.hwpts; }

int SimPagingHwpt::Create(SimSystem& system, std::shared_ptr<SimIoas> ioas, uint32_t flags,
                          bool is_automatic, std::shared_ptr<SimPagingHwpt>* hwpt) {
  const bool is_nest_parent = HasFlag(flags, uapi::IOMMU_HWPT_ALLOC_NEST_PARENT);
  if (const int result = ioas->AddPageTable(is_nest_parent); result != 0) return result;
  hwpt->reset(new SimPagingHwpt(system, std::move(ioas), flags, is_automatic));
  return 0;
}

SimPagingHwpt::SimPagingHwpt(SimSystem& system, std::shared_ptr<SimIoas> ioas, uint32_t flags,
                             bool is_automatic)
    : SimHwpt(system, HasFlag(flags, uapi::IOMMU_HWPT_ALLOC_PASID)),
      ioas_(std::move(ioas)),
      is_nest_parent_(HasFlag(flags, uapi::IOMMU_HWPT_ALLOC_NEST_PARENT)),
      is_automatic_(is_automatic) {}

SimPagingHwpt::~SimPagingHwpt() { ioas_->RemovePageTable(is_nest_parent_); }

int SimPagingHwpt::Check(int, uint32_t pasid) const {
  const bool amd = system_.machine.iommu.hardware == SimIommuHardware::kAmd;
  return pasid != 0 && amd ? -EOPNOTSUPP : 0;
}

int SimPagingHwpt::Program(int device, uint32_t pasid) const {
  system_.iommu.SetEntry(device, pasid, {.stage2 = &ioas_->stage2()});
  return 0;
}

int SimVtdNestedHwpt::Check(int, uint32_t) const { return 0; }

int SimVtdNestedHwpt::Program(int device, uint32_t pasid) const {
  const SimStage1 stage1 = MakeStage1(data_);
  if (!HardwareCan(system_.machine.iommu, stage1)) return -EINVAL;
  system_.iommu.SetEntry(device, pasid, {.stage2 = &ioas().stage2(), .stage1 = stage1});
  return 0;
}

SimSmmuNestedHwpt::SimSmmuNestedHwpt(SimSystem& system, std::shared_ptr<SimViommu> viommu,
                                     const uapi::iommu_hwpt_arm_smmuv3& data)
    : SimNestedHwpt(system, viommu->parent(), /*is_pasid_compatible=*/false),
      viommu_(std::move(viommu)),
      data_(data) {}

uint64_t SimSmmuNestedHwpt::configuration() const {
  if ((data_.ste[0] & uapi::SMMU_STE_0_V) == 0) return uapi::SMMU_STE_0_CFG_ABORT;
  return data_.ste[0] >> uapi::SMMU_STE_0_CFG_SHIFT & uapi::SMMU_STE_0_CFG_MASK;
}

int SimSmmuNestedHwpt::Check(int device, uint32_t pasid) const {
  if (pasid != 0) return -EOPNOTSUPP;
  const bool translates = configuration() == uapi::SMMU_STE_0_CFG_S1_TRANS;
  return translates && !viommu_->HasDevice(device) ? -ENOENT : 0;
}

int SimSmmuNestedHwpt::Program(int device, uint32_t pasid) const {
  switch (configuration()) {
    case uapi::SMMU_STE_0_CFG_ABORT:
      system_.iommu.ClearEntry(device, pasid);
      break;
    case uapi::SMMU_STE_0_CFG_BYPASS:
      system_.iommu.SetEntry(device, pasid, {.stage2 = &ioas().stage2()});
      break;
    default:
      system_.iommu.SetEntry(device, pasid, {.stage2 = &ioas().stage2(), .unmodelled = true});
  }
  return 0;
}

int CheckPagingFlags(const SimMachine& machine, uint32_t flags) {
  constexpr uint32_t kParent = uapi::IOMMU_HWPT_ALLOC_NEST_PARENT;
  constexpr uint32_t kPasid = uapi::IOMMU_HWPT_ALLOC_PASID;
  if (flags == 0) return 0;
  const SimIommuProperties& iommu = machine.iommu;
  const bool nests = HasFlag(flags, kParent);
  if (nests && !iommu.nesting) return -EOPNOTSUPP;
  if ((flags & ~(kParent | kPasid)) != 0) return -EOPNOTSUPP;  // no dirty tracking here
  if (iommu.hardware == SimIommuHardware::kVtd) {
    const bool knows_pasids = machine.personality == SimPersonality::kLinux7_2;
    return HasFlag(flags, kPasid) && !knows_pasids ? -EOPNOTSUPP : 0;
  }
  if (machine.personality != SimPersonality::kLinux7_2) return -EOPNOTSUPP;
  return flags == (kParent | kPasid) ? -EOPNOTSUPP : 0;
}

uint32_t PasidBits(const SimMachine& machine, int device) {
  if (!machine.iommu.nesting || !machine.devices[device].pci) return 0;
  return std::min(machine.iommu.pasid_bits, machine.devices[device].pasid_bits);
}

}  // namespace nestor::kernel
