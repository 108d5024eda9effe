// VFIO device files: /dev/vfio/devices/vfioN.
#pragma once

#include <cstdint>
#include <memory>
#include <set>

#include "agent/kernel/sim_file.h"

namespace nestor::kernel {

struct SimSystem;
class SimIommufd;
class SimIommufdDevice;
class SimVfioGroup;

// A device, once it is bound to an iommufd; until then every call but the bind is -EINVAL. Its
// last close detaches it with all its PASIDs, gives it back and resets it.
class SimVfioCdevFile final : public SimFile {
 public:
  // `device` is its index in SimMachine::devices. `system` must outlive this.
  SimVfioCdevFile(SimSystem& system, int device);
  ~SimVfioCdevFile() override;

  int Ioctl(SimTask& task, uint32_t request, uint64_t argument) override;
  ssize_t Pread(SimTask& task, uint64_t address, size_t size, uint64_t offset) override;
  ssize_t Pwrite(SimTask& task, uint64_t address, size_t size, uint64_t offset) override;

 private:
  SimVfioGroup& group() const;
  int Bind(SimTask& task, uint64_t argument);
  int BindTo(const std::shared_ptr<SimIommufd>& context);
  void Unbind();
  int AttachIoctl(SimTask& task, uint64_t argument);
  int Attach(uint32_t* pt_id);
  int AttachPasid(uint32_t pasid, uint32_t* pt_id);
  int DetachIoctl(SimTask& task, uint64_t argument);
  void DetachFrom(bool has_pasid, uint32_t pasid);
  void Detach();
  void DetachPasid(uint32_t pasid);

  SimSystem& system_;
  const int device_;
  std::shared_ptr<SimIommufd> context_;  // null: not bound
  std::shared_ptr<SimIommufdDevice> bound_;
  // What VFIO itself remembers. PASID 0 is none to iommufd, but is one here.
  bool attached_ = false;
  std::set<uint32_t> pasids_;
};

}  // namespace nestor::kernel
