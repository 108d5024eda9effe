// The kernel objects of one device in an iommufd: its stage 2 and what nests on it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/host_state.h"
#include "agent/vfio/iommufd.h"
#include "agent/vfio/iommufd_device.h"
#include "agent/vfio/stage1_format.h"

namespace nestor::agent {

// In order of lifetime: what stands on something is destroyed before it. The page tables of
// stage 2 outlive the device's file, since closing that ends whatever may still be attached.
struct IommufdNestParts {
  IommufdObject ioas;
  IommufdObject parent;  // stage 2, which nested tables stand on
  std::unique_ptr<IommufdDevice> device;
  IommufdId device_id = 0;
  IommufdObject viommu;   // where the format needs one
  IommufdObject vdevice;  // the device's name there
  Stage1Format format;
  // IOMMU_HWPT_ALLOC_PASID where PASIDs are bound: then every table of the device must have
  // been made for it, also the ones of the device itself.
  uint32_t pasid_flag = 0;
  DeviceCapabilities capabilities;
};

// Does and undoes; which calls make sense is its caller's to know. PASID 0 is the device
// itself, which walks stage 2 alone where nothing is bound to it. Not thread-safe.
class IommufdNest {
 public:
  // `iommufd` must outlive it. Nothing is attached yet.
  IommufdNest(Iommufd& iommufd, IommufdNestParts parts);
  // Detaches everything, then destroys it.
  ~IommufdNest();
  IommufdNest(const IommufdNest&) = delete;
  IommufdNest& operator=(const IommufdNest&) = delete;

  const DeviceCapabilities& capabilities() const { return parts_.capabilities; }
  VfioDevice& vfio() { return parts_.device->vfio(); }

  // Lets the device itself into stage 2.
  absl::Status AttachToStage2();

  absl::Status Map(const MemoryRegion& region);
  absl::StatusOr<uint64_t> Unmap(const MemoryRegion& region);

  // On what is not bound. A failure leaves it so.
  absl::Status Bind(uint32_t pasid, const PageTable& table);
  // On what is bound, by one attach: the kernel replaces. A failure leaves the old table
  // attached; DATA_LOSS: nothing is attached any more.
  absl::Status Replace(uint32_t pasid, const PageTable& table);
  // DATA_LOSS: unbound, but the device itself is blocked rather than in stage 2.
  absl::Status Unbind(uint32_t pasid);
  // Of what is bound. Size 0: everything.
  absl::Status Invalidate(uint32_t pasid, uint64_t address, uint64_t size);

 private:
  absl::StatusOr<IommufdObject> AllocateNested(const PageTable& table);
  // Attaches `to` in place of `from` (0: nothing was attached).
  absl::Status Switch(uint32_t pasid, IommufdId to, IommufdId from);

  Iommufd& iommufd_;
  IommufdNestParts parts_;
  bool in_stage2_ = false;
  std::map<uint32_t, IommufdObject> nested_;  // bound, by PASID
};

}  // namespace nestor::agent
