// Page tables of the hardware, as iommufd has them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "agent/kernel/sim_ioas.h"
#include "agent/kernel/sim_iommu.h"
#include "agent/kernel/sim_iommufd_object.h"
#include "agent/kernel/uapi/iommufd.h"

namespace nestor::kernel {

struct SimSystem;
class SimViommu;

// What a device, or one of its PASIDs, is attached to.
class SimHwpt : public SimIommufdObject {
 public:
  // `is_pasid_compatible`: made with IOMMU_HWPT_ALLOC_PASID.
  SimHwpt(SimSystem& system, bool is_pasid_compatible);
  ~SimHwpt() override;

  bool is_pasid_compatible() const { return is_pasid_compatible_; }
  virtual SimIoas& ioas() const = 0;
  // What the IOMMU's driver says before it touches the device's entry for `pasid`, 0 for
  // requests without one. -EOPNOTSUPP: not per PASID; -ENOENT: a device without a vDEVICE.
  virtual int Check(int device, uint32_t pasid) const = 0;
  // Fills that entry, which is empty. -EINVAL: the hardware cannot do what the data asks for.
  virtual int Program(int device, uint32_t pasid) const = 0;

 protected:
  SimSystem& system_;

 private:
  const bool is_pasid_compatible_;
};

// Stage 2: shows an IOAS.
class SimPagingHwpt final : public SimHwpt {
 public:
  // -EADDRINUSE, -EINVAL, -EFAULT: see SimIoas::AddPageTable. `is_automatic`: made for an
  // attachment to an IOAS, and gone with the last one.
  static int Create(SimSystem& system, std::shared_ptr<SimIoas> ioas, uint32_t flags,
                    bool is_automatic, std::shared_ptr<SimPagingHwpt>* hwpt);
  ~SimPagingHwpt() override;

  bool is_nest_parent() const { return is_nest_parent_; }
  bool is_automatic() const { return is_automatic_; }
  SimIoas& ioas() const override { return *ioas_; }
  int Check(int device, uint32_t pasid) const override;
  int Program(int device, uint32_t pasid) const override;

 private:
  SimPagingHwpt(SimSystem& system, std::shared_ptr<SimIoas> ioas, uint32_t flags,
                bool is_automatic);

  const std::shared_ptr<SimIoas> ioas_;
  const bool is_nest_parent_;
  const bool is_automatic_;
};

// Stage 1 of a guest over stage 2.
class SimNestedHwpt : public SimHwpt {
 public:
  SimNestedHwpt(SimSystem& system, std::shared_ptr<SimPagingHwpt> parent, bool is_pasid_compatible)
      : SimHwpt(system, is_pasid_compatible), parent_(std::move(parent)) {}
  SimIoas& ioas() const override { return parent_->ioas(); }

 protected:
  const std::shared_ptr<SimPagingHwpt> parent_;
};

// Of VT-d: a table of the guest's.
class SimVtdNestedHwpt final : public SimNestedHwpt {
 public:
  SimVtdNestedHwpt(SimSystem& system, std::shared_ptr<SimPagingHwpt> parent,
                   bool is_pasid_compatible, const uapi::iommu_hwpt_vtd_s1& data)
      : SimNestedHwpt(system, std::move(parent), is_pasid_compatible), data_(data) {}
  int Check(int device, uint32_t pasid) const override;
  int Program(int device, uint32_t pasid) const override;

 private:
  const uapi::iommu_hwpt_vtd_s1 data_;
};

// Of SMMUv3: an entry of the guest's stream table.
class SimSmmuNestedHwpt final : public SimNestedHwpt {
 public:
  SimSmmuNestedHwpt(SimSystem& system, std::shared_ptr<SimViommu> viommu,
                    const uapi::iommu_hwpt_arm_smmuv3& data);
  int Check(int device, uint32_t pasid) const override;
  int Program(int device, uint32_t pasid) const override;

 private:
  uint64_t configuration() const;

  const std::shared_ptr<SimViommu> viommu_;
  const uapi::iommu_hwpt_arm_smmuv3 data_;
};

// What the IOMMU's driver makes of IOMMU_HWPT_ALLOC's flags for a HWPT over an IOAS: 0 or
// -EOPNOTSUPP.
int CheckPagingFlags(const SimMachine& machine, uint32_t flags);

// PASIDs that a device may be attached by: below 1 << this; 0: none.
uint32_t PasidBits(const SimMachine& machine, int device);

}  // namespace nestor::kernel
