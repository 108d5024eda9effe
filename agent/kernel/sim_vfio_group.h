// VFIO groups: /dev/vfio/{group}.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/kernel/sim_file.h"

namespace nestor::kernel {

struct SimSystem;
class SimDevice;
class SimVfioContainer;

// One IOMMU group as VFIO sees it. It stays in its container while its own descriptor or one
// of its devices is open. A group is used either this way or by its members' device files.
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
  bool in_use() const { return opened_ || container_ != nullptr || device_files_ > 0; }
  bool is_opened() const { return opened_; }
  // Whether its kernel knows another way to use it.
  bool has_iommufd() const;

  // -EBUSY: open, or still in the container of an earlier opening, or a member is bound to an
  // iommufd.
  int Open(std::shared_ptr<SimFile>* file);

  // A member's device file was opened or closed.
  void AddDeviceFile() { ++device_files_; }
  void DropDeviceFile();
  // Takes a member for an iommufd, and the group's DMA with it. -EINVAL: the member is open in
  // another way; -ENODEV: it is not vfio-pci's; -EPERM: the group is not viable or somebody
  // else's, or its interrupts are not isolated.
  int Claim(int device, const void* iommufd);
  void Disclaim(int device);

 private:
  friend class SimVfioGroupFile;
  friend class SimVfioDeviceFile;

  int GetStatus(SimTask& task, uint64_t argument) const;
  int SetContainer(SimTask& task, uint64_t argument);
  int UnsetContainer();
  int GetDevice(SimTask& task, uint64_t argument);
  void Close();
  // A device was opened, or it, or the group, was closed.
  void AddUser(const SimDevice& device);
  void DropUser(const SimDevice& device);
  void DropUser();
  void LeaveContainer();
  // The member with that name that is bound to vfio-pci, or -1.
  int FindDevice(const std::string& name) const;

  SimSystem& system_;
  const std::vector<int> devices_;
  bool opened_ = false;
  std::shared_ptr<SimVfioContainer> container_;
  int container_users_ = 0;  // while in one: 1 for the group, and 1 for each open device
  std::multiset<const SimDevice*> open_devices_;  // through the group
  int device_files_ = 0;                          // open
  std::set<int> claimed_;                         // members that are bound to iommufd_
  const void* iommufd_ = nullptr;                 // names it; null: none
};

}  // namespace nestor::kernel
