#include "agent/kernel/sim_vfio_device.h"

#include <algorithm>
#include <cerrno>
#include <vector>

#include "agent/kernel/uapi/vfio_cdev.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"

namespace nestor::kernel {
namespace {

// VFIO_PCI_OFFSET_SHIFT of 5.10.
constexpr int kRegionShift = 40;
constexpr uint64_t kOffsetMask = (uint64_t{1} << kRegionShift) - 1;

uint64_t RegionSize(uint64_t index) {
  if (index == uapi::VFIO_PCI_BAR0_REGION_INDEX) return kSimDeviceBarSize;
  if (index == uapi::VFIO_PCI_CONFIG_REGION_INDEX) return SimDevice::kConfigSize;
  return 0;
}

int GetInfo(SimTask& task, uint64_t argument, bool has_reset) {
  uapi::vfio_device_info info;
  if (!task.memory().Read(argument, &info)) return -EFAULT;
  if (info.argsz < sizeof(info)) return -EINVAL;
  info.flags = uapi::VFIO_DEVICE_FLAGS_PCI | (has_reset ? uapi::VFIO_DEVICE_FLAGS_RESET : 0);
  info.num_regions = uapi::VFIO_PCI_NUM_REGIONS;
  info.num_irqs = uapi::VFIO_PCI_NUM_IRQS;
  return task.memory().Write(argument, info) ? 0 : -EFAULT;
}

int GetRegionInfo(SimTask& task, uint64_t argument) {
  uapi::vfio_region_info info;
  if (!task.memory().Read(argument, &info)) return -EFAULT;
  // A device that is no display has no VGA region, not even an empty one.
  if (info.argsz < sizeof(info) || info.index >= uapi::VFIO_PCI_VGA_REGION_INDEX) return -EINVAL;
  info.offset = uint64_t{info.index} << kRegionShift;
  info.size = RegionSize(info.index);
  info.flags =
      info.size == 0 ? 0 : uapi::VFIO_REGION_INFO_FLAG_READ | uapi::VFIO_REGION_INFO_FLAG_WRITE;
  info.cap_offset = 0;
  return task.memory().Write(argument, info) ? 0 : -EFAULT;
}

int GetIrqInfo(SimTask& task, uint64_t argument) {
  uapi::vfio_irq_info info;
  if (!task.memory().Read(argument, &info)) return -EFAULT;
  if (info.argsz < sizeof(info) || info.index >= uapi::VFIO_PCI_NUM_IRQS) return -EINVAL;
  // Those of the driver itself, for errors and for giving the device back.
  const bool of_driver = info.index >= uapi::VFIO_PCI_ERR_IRQ_INDEX;
  info.flags = uapi::VFIO_IRQ_INFO_EVENTFD | uapi::VFIO_IRQ_INFO_NORESIZE;
  info.count = of_driver ? 1 : 0;
  return task.memory().Write(argument, info) ? 0 : -EFAULT;
}

// As much of [offset, offset + size) as its region has; negative: nothing is there.
ssize_t ClampToRegion(uint64_t offset, size_t size) {
  const uint64_t region_size = RegionSize(offset >> kRegionShift);
  const uint64_t position = offset & kOffsetMask;
  if (position >= region_size) return -EINVAL;
  return static_cast<ssize_t>(std::min<uint64_t>(size, region_size - position));
}

bool IsConfig(uint64_t offset) {
  return offset >> kRegionShift == uapi::VFIO_PCI_CONFIG_REGION_INDEX;
}

}  // namespace

int VfioDeviceIoctl(SimTask& task, SimDevice& device, uint32_t request, uint64_t argument) {
  switch (request) {
    case uapi::VFIO_DEVICE_GET_INFO:
      return GetInfo(task, argument, device.has_reset());
    case uapi::VFIO_DEVICE_GET_REGION_INFO:
      return GetRegionInfo(task, argument);
    case uapi::VFIO_DEVICE_GET_IRQ_INFO:
      return GetIrqInfo(task, argument);
    case uapi::VFIO_DEVICE_RESET:
      if (!device.has_reset()) return -EINVAL;
      device.Reset();
      return 0;
    default:
      return -ENOTTY;
  }
}

int SimVfioDeviceFile::Ioctl(SimTask& task, uint32_t request, uint64_t argument) {
  const bool binds = request == uapi::VFIO_DEVICE_BIND_IOMMUFD;
  if (binds && group_.has_iommufd()) return -EINVAL;
  return VfioDeviceIoctl(task, device_, request, argument);
}

ssize_t VfioDevicePread(SimTask& task, const SimDevice& device, uint64_t address, size_t size,
                        uint64_t offset) {
  const ssize_t count = ClampToRegion(offset, size);
  if (count <= 0) return count;
  std::vector<uint8_t> bytes(static_cast<size_t>(count));
  if (IsConfig(offset)) {
    device.ReadConfig(offset & kOffsetMask, bytes.data(), bytes.size());
  } else {
    device.ReadBar(offset & kOffsetMask, bytes.data(), bytes.size());
  }
  return task.memory().Write(address, bytes.data(), bytes.size()) ? count : -EFAULT;
}

ssize_t VfioDevicePwrite(SimTask& task, SimDevice& device, uint64_t address, size_t size,
                         uint64_t offset) {
  const ssize_t count = ClampToRegion(offset, size);
  if (count <= 0) return count;
  std::vector<uint8_t> bytes(static_cast<size_t>(count));
  if (!task.memory().Read(address, bytes.data(), bytes.size())) return -EFAULT;
  if (IsConfig(offset)) {
    device.WriteConfig(offset & kOffsetMask, bytes.data(), bytes.size());
  } else {
    device.WriteBar(offset & kOffsetMask, bytes.data(), bytes.size());
  }
  return count;
}

}  // namespace nestor::kernel
