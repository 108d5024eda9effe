#include "agent/kernel/sim_vfio_group.h"

#include <algorithm>
#include <cerrno>

#include "agent/kernel/sim_system.h"
#include "agent/kernel/sim_vfio_container.h"
#include "agent/kernel/sim_vfio_device.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"

namespace nestor::kernel {
namespace {

constexpr char kVfioPci[] = "vfio-pci";
// strndup_user's bound in VFIO_GROUP_GET_DEVICE_FD.
constexpr size_t kMaxDeviceName = 4096;

// Drivers that leave a device's DMA to VFIO or do none: vfio_dev_driver_allowed() of 5.10.
bool IsHarmless(const std::string& driver) {
  return driver.empty() || driver == kVfioPci || driver == "vfio-platform" ||
         driver == "pci-stub" || driver == "pcieport";
}

}  // namespace

// The group's descriptor.
class SimVfioGroupFile final : public SimFile {
 public:
  explicit SimVfioGroupFile(SimVfioGroup& group) : group_(group) {}
  ~SimVfioGroupFile() override { group_.Close(); }

  int Ioctl(SimTask& task, uint32_t request, uint64_t argument) override {
    switch (request) {
      case uapi::VFIO_GROUP_GET_STATUS:
        return group_.GetStatus(task, argument);
      case uapi::VFIO_GROUP_SET_CONTAINER:
        return group_.SetContainer(task, argument);
      case uapi::VFIO_GROUP_UNSET_CONTAINER:
        return group_.UnsetContainer();
      case uapi::VFIO_GROUP_GET_DEVICE_FD:
        return group_.GetDevice(task, argument);
      default:
        return -ENOTTY;
    }
  }

 private:
  SimVfioGroup& group_;
};

SimVfioGroup::~SimVfioGroup() = default;

bool SimVfioGroup::HasVfioDevice() const {
  return std::any_of(devices_.begin(), devices_.end(),
                     [&](int device) { return system_.drivers.DriverOf(device) == kVfioPci; });
}

bool SimVfioGroup::IsViable() const {
  return std::all_of(devices_.begin(), devices_.end(),
                     [&](int device) { return IsHarmless(system_.drivers.DriverOf(device)); });
}

bool SimVfioGroup::has_iommufd() const { return HasIommufd(system_.machine.personality); }

int SimVfioGroup::Open(std::shared_ptr<SimFile>* file) {
  if (opened_ || container_ != nullptr || !claimed_.empty()) return -EBUSY;
  opened_ = true;
  *file = std::make_shared<SimVfioGroupFile>(*this);
  return 0;
}

int SimVfioGroup::GetStatus(SimTask& task, uint64_t argument) const {
  uapi::vfio_group_status status;
  if (!task.memory().Read(argument, &status)) return -EFAULT;
  if (status.argsz < sizeof(status)) return -EINVAL;
  status.flags = 0;
  if (container_ != nullptr) {
    status.flags = uapi::VFIO_GROUP_FLAGS_CONTAINER_SET | uapi::VFIO_GROUP_FLAGS_VIABLE;
  } else if (IsViable()) {
    status.flags = uapi::VFIO_GROUP_FLAGS_VIABLE;
  }
  return task.memory().Write(argument, status) ? 0 : -EFAULT;
}

int SimVfioGroup::SetContainer(SimTask& task, uint64_t argument) {
  int32_t fd = -1;
  if (!task.memory().Read(argument, &fd)) return -EFAULT;
  if (fd < 0 || container_ != nullptr) return -EINVAL;
  const std::shared_ptr<SimFile> file = task.GetFile(fd);
  if (file == nullptr) return -EBADF;
  const auto container = std::dynamic_pointer_cast<SimVfioContainer>(file);
  if (container == nullptr) return -EINVAL;
  if (const int result = container->AddGroup(task, *this); result != 0) return result;
  container_ = container;
  container_users_ = 1;
  return 0;
}

int SimVfioGroup::UnsetContainer() {
  if (container_ == nullptr) return -EINVAL;
  if (container_users_ > 1) return -EBUSY;
  LeaveContainer();
  return 0;
}

int SimVfioGroup::GetDevice(SimTask& task, uint64_t argument) {
  std::string name;
  if (const int result = task.memory().ReadString(argument, kMaxDeviceName, &name); result != 0) {
    return result;
  }
  if (container_ == nullptr || !container_->has_driver() || !IsViable()) return -EINVAL;
  const int device = FindDevice(name);
  if (device < 0) return -ENODEV;
  return task.InstallFile(std::make_shared<SimVfioDeviceFile>(*this, *system_.devices[device]));
}

int SimVfioGroup::FindDevice(const std::string& name) const {
  for (const int device : devices_) {
    if (system_.machine.devices[device].bdf == name &&
        system_.drivers.DriverOf(device) == kVfioPci && !system_.hotplug.IsLeaving(device)) {
      return device;
    }
  }
  return -1;
}

void SimVfioGroup::Close() {
  opened_ = false;
  if (container_ != nullptr) DropUser();
  if (!in_use()) system_.hotplug.GroupWasReleased();
}

void SimVfioGroup::DropDeviceFile() {
  --device_files_;
  if (!in_use()) system_.hotplug.GroupWasReleased();
}

void SimVfioGroup::AddUser(const SimDevice& device) {
  open_devices_.insert(&device);
  ++container_users_;
}

void SimVfioGroup::DropUser(const SimDevice& device) {
  open_devices_.erase(open_devices_.find(&device));
  DropUser();
}

int SimVfioGroup::Claim(int device, const void* iommufd) {
  if (claimed_.contains(device) || open_devices_.contains(system_.devices[device].get())) {
    return -EINVAL;
  }
  if (system_.drivers.DriverOf(device) != kVfioPci) return -ENODEV;
  if (!IsViable() || container_ != nullptr) return -EPERM;
  if (iommufd_ != nullptr && iommufd_ != iommufd) return -EPERM;
  if (!system_.machine.iommu.interrupt_remapping) return -EPERM;
  claimed_.insert(device);
  iommufd_ = iommufd;
  return 0;
}

void SimVfioGroup::Disclaim(int device) {
  claimed_.erase(device);
  if (claimed_.empty()) iommufd_ = nullptr;
}

void SimVfioGroup::DropUser() {
  if (--container_users_ > 0) return;
  LeaveContainer();
  if (!in_use()) system_.hotplug.GroupWasReleased();
}

void SimVfioGroup::LeaveContainer() {
  container_users_ = 0;
  container_->RemoveGroup(*this);
  container_.reset();
}

}  // namespace nestor::kernel
