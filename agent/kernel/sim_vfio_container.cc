#include "agent/kernel/sim_vfio_container.h"

#include <cerrno>

#include "agent/kernel/sim_system.h"
#include "agent/kernel/sim_type1.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"

namespace nestor::kernel {

SimVfioContainer::SimVfioContainer(SimSystem& system) : system_(system) { ++system_.containers; }

SimVfioContainer::~SimVfioContainer() { --system_.containers; }

int SimVfioContainer::Ioctl(SimTask& task, uint32_t request, uint64_t argument) {
  switch (request) {
    case uapi::VFIO_GET_API_VERSION:
      return uapi::VFIO_API_VERSION;
    case uapi::VFIO_CHECK_EXTENSION:
      return CheckExtension(argument);
    case uapi::VFIO_SET_IOMMU:
      return SetIommu(task, argument);
    default:
      return driver_ == nullptr ? -EINVAL : driver_->Ioctl(task, request, argument);
  }
}

int SimVfioContainer::CheckExtension(uint64_t extension) const {
  switch (extension) {
    case uapi::VFIO_TYPE1_IOMMU:
    case uapi::VFIO_TYPE1v2_IOMMU:
      return 1;
    case uapi::VFIO_TYPE1_NESTING_IOMMU:
      return system_.machine.personality == SimPersonality::kLinux7_2 ? 0 : 1;
    default:
      return 0;
  }
}

int SimVfioContainer::SetIommu(SimTask& task, uint64_t type) {
  if (groups_.empty() || driver_ != nullptr) return -EINVAL;
  if (CheckExtension(type) == 0) return -ENODEV;
  auto driver = std::make_unique<SimType1>(system_, static_cast<uint32_t>(type));
  for (SimVfioGroup* group : groups_) {
    // The groups that were attached leave with `driver`.
    if (const int result = driver->AttachGroup(task, *group); result != 0) return result;
  }
  driver_ = std::move(driver);
  return 0;
}

int SimVfioContainer::AddGroup(SimTask& task, SimVfioGroup& group) {
  if (driver_ != nullptr) {
    if (const int result = driver_->AttachGroup(task, group); result != 0) return result;
  }
  groups_.push_back(&group);
  return 0;
}

void SimVfioContainer::RemoveGroup(SimVfioGroup& group) {
  if (driver_ != nullptr) driver_->DetachGroup(group);
  std::erase(groups_, &group);
  if (groups_.empty()) driver_.reset();
}

}  // namespace nestor::kernel
