// The descriptor of a device, from VFIO_GROUP_GET_DEVICE_FD.
#pragma once

#include "agent/kernel/sim_device.h"
#include "agent/kernel/sim_file.h"
#include "agent/kernel/sim_vfio_group.h"

namespace nestor::kernel {

// vfio-pci's view of a device. While it is open, its group stays in its container.
class SimVfioDeviceFile final : public SimFile {
 public:
  // Both references must outlive this.
  SimVfioDeviceFile(SimVfioGroup& group, SimDevice& device) : group_(group), device_(device) {
    group_.AddUser();
  }
  ~SimVfioDeviceFile() override { group_.DropUser(); }

  int Ioctl(SimTask& task, uint32_t request, uint64_t argument) override;
  // The offset's upper bits select the region. -EINVAL: none there, or beyond its end.
  ssize_t Pread(SimTask& task, uint64_t address, size_t size, uint64_t offset) override;
  ssize_t Pwrite(SimTask& task, uint64_t address, size_t size, uint64_t offset) override;

 private:
  SimVfioGroup& group_;
  SimDevice& device_;
};

}  // namespace nestor::kernel
