// vfio-pci's calls on a device, and its descriptor from VFIO_GROUP_GET_DEVICE_FD.
#pragma once

#include "agent/kernel/sim_device.h"
#include "agent/kernel/sim_file.h"
#include "agent/kernel/sim_vfio_group.h"

namespace nestor::kernel {

// What a descriptor of a device does once it may be used.
int VfioDeviceIoctl(SimTask& task, SimDevice& device, uint32_t request, uint64_t argument);
// The offset's upper bits select the region. -EINVAL: none there, or beyond its end.
ssize_t VfioDevicePread(SimTask& task, const SimDevice& device, uint64_t address, size_t size,
                        uint64_t offset);
ssize_t VfioDevicePwrite(SimTask& task, SimDevice& device, uint64_t address, size_t size,
                         uint64_t offset);

// A device that was opened through its group. While it is open, the group stays in its
// container.
class SimVfioDeviceFile final : public SimFile {
 public:
  // Both references must outlive this.
  SimVfioDeviceFile(SimVfioGroup& group, SimDevice& device) : group_(group), device_(device) {
    group_.AddUser(device_);
  }
  ~SimVfioDeviceFile() override { group_.DropUser(device_); }

  // -EINVAL for a bind to an iommufd, where the kernel knows it: it has its container.
  int Ioctl(SimTask& task, uint32_t request, uint64_t argument) override;
  ssize_t Pread(SimTask& task, uint64_t address, size_t size, uint64_t offset) override {
    return VfioDevicePread(task, device_, address, size, offset);
  }
  ssize_t Pwrite(SimTask& task, uint64_t address, size_t size, uint64_t offset) override {
    return VfioDevicePwrite(task, device_, address, size, offset);
  }

 private:
  SimVfioGroup& group_;
  SimDevice& device_;
};

}  // namespace nestor::kernel
