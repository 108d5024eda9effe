// VFIO groups: /dev/vfio/{group}.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/kernel/sim_file.h"

namespace nestor::kernel {

struct SimSystem;
class SimVfioContainer;

// One IOMMU group as VFIO sees it. It stays in its container while its own descriptor or one
// of its devices is open.
class SimVfioGroup {
 public:
  // `devices`: indices in SimMachine::devices. `system` must outlive this.
  SimVfioGroup(SimSystem& system, std::vector<int> devices)
      : system_(system), devices_(std::move(devices)) {}
  ~SimVfioGroup();

  const std::vector<int>& devices() const { return devices_; }
  // Whether a member is bound to vfio-pci, so that the group has a node in /dev/vfio.
  bool HasVfioDevice() const;
  // Whether no member is bound to a driver that could do DMA of its own.
  bool IsViable() const;
  bool in_use() const { return opened_ || container_ != nullptr; }

  // -EBUSY: open, or still in the container of an earlier opening.
  int Open(std::shared_ptr<SimFile>* file);

 private:
  friend class SimVfioGroupFile;
  friend class SimVfioDeviceFile;

  int GetStatus(SimTask& task, uint64_t argument) const;
  int SetContainer(SimTask& task, uint64_t argument);
  int UnsetContainer();
  int GetDevice(SimTask& task, uint64_t argument);
  void Close();
  // A device was opened, or it, or the group, was closed.
  void AddUser() { ++container_users_; }
  void DropUser();
  void LeaveContainer();
  // The member with that name that is bound to vfio-pci, or -1.
  int FindDevice(const std::string& name) const;

  SimSystem& system_;
  const std::vector<int> devices_;
  bool opened_ = false;
  std::shared_ptr<SimVfioContainer> container_;
  int container_users_ = 0;  // while in one: 1 for the group, and 1 for each open device
};

}  // namespace nestor::kernel
