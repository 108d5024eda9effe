#include "agent/kernel/sim_vfio_cdev.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include "agent/kernel/sim_iommufd.h"
#include "agent/kernel/sim_iommufd_device.h"
#include "agent/kernel/sim_system.h"
#include "agent/kernel/sim_vfio_device.h"
#include "agent/kernel/sim_viommu.h"
#include "agent/kernel/uapi/iommufd.h"

namespace nestor::kernel {
namespace {

constexpr uint32_t kMaxArgument = 4096;
constexpr uint32_t kMaxPasid = std::numeric_limits<int32_t>::max();

// Whether [argument, argument + size) holds zero bytes only: 0, -E2BIG, -EFAULT.
int CheckTail(const UserMemory& memory, uint64_t argument, uint32_t size) {
  std::array<uint8_t, kMaxArgument> tail;
  if (size > tail.size()) return -E2BIG;
  if (!memory.Read(argument, tail.data(), size)) return -EFAULT;
  return std::any_of(tail.begin(), tail.begin() + size, [](uint8_t byte) { return byte != 0; })
             ? -E2BIG
             : 0;
}

// The struct with as much as its argsz says. The token came with a longer struct, whose end
// older kernels do not look at.
int ReadBind(const SimTask& task, uint64_t argument, bool knows_token,
             uapi::vfio_device_bind_iommufd* bind) {
  constexpr uint32_t kMinSize = uapi::VFIO_DEVICE_BIND_MIN_SIZE;
  *bind = {};
  if (!task.memory().Read(argument, bind, kMinSize)) return -EFAULT;
  if (bind->argsz < kMinSize) return -EINVAL;
  if (knows_token && bind->argsz > sizeof(*bind)) {
    return CheckTail(task.memory(), argument + sizeof(*bind),
                     bind->argsz - static_cast<uint32_t>(sizeof(*bind)));
  }
  return 0;
}

// A struct that begins with argsz and flags and may end in a PASID: 0, -EFAULT, -EINVAL.
template <typename Struct>
int ReadWithPasid(const SimTask& task, uint64_t argument, uint32_t min_size, bool knows_pasids,
                  Struct* value) {
  constexpr uint32_t kPasidFlag = uapi::VFIO_DEVICE_ATTACH_PASID;
  static_assert(kPasidFlag == uapi::VFIO_DEVICE_DETACH_PASID);
  *value = {};
  if (!task.memory().Read(argument, value, min_size)) return -EFAULT;
  if (value->argsz < min_size || (value->flags & ~(knows_pasids ? kPasidFlag : 0)) != 0) {
    return -EINVAL;
  }
  if (value->flags == 0) return 0;
  if (value->argsz < sizeof(*value)) return -EINVAL;
  return task.memory().Read(argument, value) ? 0 : -EFAULT;
}

}  // namespace

SimVfioCdevFile::SimVfioCdevFile(SimSystem& system, int device) : system_(system), device_(device) {
  group().AddDeviceFile();
}

SimVfioCdevFile::~SimVfioCdevFile() {
  if (context_ != nullptr) Unbind();
  group().DropDeviceFile();
}

SimVfioGroup& SimVfioCdevFile::group() const {
  return *system_.groups.at(system_.machine.devices[device_].iommu_group);
}

int SimVfioCdevFile::Ioctl(SimTask& task, uint32_t request, uint64_t argument) {
  if (request == uapi::VFIO_DEVICE_BIND_IOMMUFD) return Bind(task, argument);
  if (context_ == nullptr) return -EINVAL;
  switch (request) {
    case uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT:
      return AttachIoctl(task, argument);
    case uapi::VFIO_DEVICE_DETACH_IOMMUFD_PT:
      return DetachIoctl(task, argument);
    default:
      return VfioDeviceIoctl(task, *system_.devices[device_], request, argument);
  }
}

ssize_t SimVfioCdevFile::Pread(SimTask& task, uint64_t address, size_t size, uint64_t offset) {
  if (context_ == nullptr) return -EINVAL;
  return VfioDevicePread(task, *system_.devices[device_], address, size, offset);
}

ssize_t SimVfioCdevFile::Pwrite(SimTask& task, uint64_t address, size_t size, uint64_t offset) {
  if (context_ == nullptr) return -EINVAL;
  return VfioDevicePwrite(task, *system_.devices[device_], address, size, offset);
}

int SimVfioCdevFile::Bind(SimTask& task, uint64_t argument) {
  const bool knows_token = system_.machine.personality == SimPersonality::kLinux7_2;
  uapi::vfio_device_bind_iommufd bind;
  if (const int result = ReadBind(task, argument, knows_token, &bind); result != 0) return result;
  // A token is for devices with virtual functions; no device here takes one.
  if (bind.flags != 0 || bind.iommufd < 0) return -EINVAL;
  if (group().is_opened()) return -EBUSY;
  if (context_ != nullptr) return -EINVAL;
  const std::shared_ptr<SimFile> file = task.GetFile(bind.iommufd);
  if (file == nullptr) return -EBADF;
  const auto iommufd = std::dynamic_pointer_cast<SimIommufdFile>(file);
  if (iommufd == nullptr) return -EBADFD;
  if (const int result = BindTo(iommufd->context()); result != 0) return result;
  bind.out_devid = bound_->id();
  if (task.memory().Write(argument, &bind, uapi::VFIO_DEVICE_BIND_MIN_SIZE)) return 0;
  Unbind();
  return -EFAULT;
}

int SimVfioCdevFile::BindTo(const std::shared_ptr<SimIommufd>& context) {
  if (const int result = group().Claim(device_, context.get()); result != 0) return result;
  context_ = context;
  bound_ = std::make_shared<SimIommufdDevice>(*context_, device_);
  context_->Add(bound_);
  ++system_.bound_devices;
  return 0;
}

void SimVfioCdevFile::Unbind() {
  while (!pasids_.empty()) DetachPasid(*pasids_.begin());
  Detach();
  for (const auto& [id, object] : context_->objects()) {
    const auto* vdevice = dynamic_cast<const SimVdevice*>(object.get());
    if (vdevice == nullptr || vdevice->device() != device_) continue;
    context_->Burn(id);
    break;
  }
  context_->Remove(bound_->id());
  bound_.reset();
  context_.reset();
  --system_.bound_devices;
  group().Disclaim(device_);
  system_.devices[device_]->Reset();
}

int SimVfioCdevFile::AttachIoctl(SimTask& task, uint64_t argument) {
  const bool knows_pasids = system_.machine.personality == SimPersonality::kLinux7_2;
  uapi::vfio_device_attach_iommufd_pt attach;
  const int read =
      ReadWithPasid(task, argument, uapi::VFIO_DEVICE_ATTACH_MIN_SIZE, knows_pasids, &attach);
  if (read != 0) return read;
  const bool has_pasid = attach.flags != 0;
  const int result = has_pasid ? AttachPasid(attach.pasid, &attach.pt_id) : Attach(&attach.pt_id);
  if (result != 0) return result;
  if (task.memory().Write(argument, &attach, uapi::VFIO_DEVICE_ATTACH_MIN_SIZE)) return 0;
  DetachFrom(has_pasid, attach.pasid);
  return -EFAULT;
}

int SimVfioCdevFile::Attach(uint32_t* pt_id) {
  if (attached_) return bound_->Replace(0, pt_id);
  const int result = bound_->Attach(0, pt_id);
  attached_ = result == 0;
  return result;
}

int SimVfioCdevFile::AttachPasid(uint32_t pasid, uint32_t* pt_id) {
  if (pasids_.contains(pasid)) return bound_->Replace(pasid, pt_id);
  if (const int result = bound_->Attach(pasid, pt_id); result != 0) return result;
  pasids_.insert(pasid);
  if (pasid <= kMaxPasid) return 0;
  DetachPasid(pasid);
  return -ENOSPC;
}

int SimVfioCdevFile::DetachIoctl(SimTask& task, uint64_t argument) {
  const bool knows_pasids = system_.machine.personality == SimPersonality::kLinux7_2;
  uapi::vfio_device_detach_iommufd_pt detach;
  const int read =
      ReadWithPasid(task, argument, uapi::VFIO_DEVICE_DETACH_MIN_SIZE, knows_pasids, &detach);
  if (read != 0) return read;
  DetachFrom(detach.flags != 0, detach.pasid);
  return 0;
}

void SimVfioCdevFile::DetachFrom(bool has_pasid, uint32_t pasid) {
  if (has_pasid) {
    DetachPasid(pasid);
  } else {
    Detach();
  }
}

void SimVfioCdevFile::Detach() {
  if (attached_) bound_->Detach(0);
  attached_ = false;
}

void SimVfioCdevFile::DetachPasid(uint32_t pasid) {
  if (pasids_.erase(pasid) > 0) bound_->Detach(pasid);
}

}  // namespace nestor::kernel
