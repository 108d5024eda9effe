// Devices that are bound to an iommufd.
#pragma once

#include <cstdint>
#include <memory>

#include "agent/kernel/sim_iommufd_object.h"

namespace nestor::kernel {

class SimHwpt;
class SimIommufd;

// A device of an iommufd, which its VFIO device file keeps. PASID 0 stands for requests
// without one.
class SimIommufdDevice final : public SimIommufdObject {
 public:
  // `device` is its index in SimMachine::devices. `context` must outlive this.
  SimIommufdDevice(SimIommufd& context, int device);

  int device() const { return device_; }
  int group() const { return group_; }

  // Attaches to what has the id `pt_id`: a HWPT, or an IOAS, for which a HWPT is found or made.
  // 0, and `pt_id` is that of the HWPT; -ENOENT; -EINVAL: neither of these; and what
  // SimAttachments says.
  int Attach(uint32_t pasid, uint32_t* pt_id);
  int Replace(uint32_t pasid, uint32_t* pt_id);
  // Nothing where it is not attached.
  void Detach(uint32_t pasid);

 private:
  template <typename Change>
  int ChangeTo(uint32_t* pt_id, Change change);
  // A HWPT that is gone with the last attachment to it goes now.
  void Release(std::shared_ptr<SimHwpt> hwpt);

  SimIommufd& context_;
  const int device_;
  const int group_;
};

}  // namespace nestor::kernel
