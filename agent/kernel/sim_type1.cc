#include "agent/kernel/sim_type1.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "agent/kernel/sim_system.h"
#include "agent/kernel/sim_type1_info.h"
#include "agent/kernel/sim_vfio_group.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"

namespace nestor::kernel {
namespace {

constexpr uint64_t kPageMask = 4095;

// What older callers of GET_INFO knew of the struct: up to iova_pgsizes, and to cap_offset.
constexpr uint32_t kInfoMinSize = offsetof(uapi::vfio_iommu_type1_info, cap_offset);
constexpr uint32_t kInfoCapabilitySize = kInfoMinSize + sizeof(uint32_t);

// Of a range with bytes in it.
bool Wraps(uint64_t start, uint64_t size) { return start + size - 1 < start; }

int WrapError(SimPersonality personality) {
  return personality == SimPersonality::kLinux7_2 ? -EOVERFLOW : -EINVAL;
}

int CheckForm(SimPersonality personality, const uapi::vfio_iommu_type1_dma_map& map) {
  constexpr uint32_t kFlags = uapi::VFIO_DMA_MAP_FLAG_READ | uapi::VFIO_DMA_MAP_FLAG_WRITE;
  if (map.argsz < sizeof(map) || (map.flags & ~kFlags) != 0 || map.size == 0) return -EINVAL;
  if (Wraps(map.iova, map.size) || Wraps(map.vaddr, map.size)) return WrapError(personality);
  if (map.flags == 0 || ((map.size | map.iova | map.vaddr) & kPageMask) != 0) return -EINVAL;
  return 0;
}

int CheckForm(SimPersonality personality, const uapi::vfio_iommu_type1_dma_unmap& unmap) {
  if (unmap.argsz < sizeof(unmap) || unmap.flags != 0) return -EINVAL;
  if (unmap.size == 0 || ((unmap.iova | unmap.size) & kPageMask) != 0) return -EINVAL;
  return Wraps(unmap.iova, unmap.size) ? WrapError(personality) : 0;
}

bool IsValidIova(const SimIommuProperties& iommu, uint64_t iova, uint64_t last) {
  const auto ranges = ValidIovaRanges(iommu);
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const auto& range) { return iova >= range.start && last <= range.end; });
}

}  // namespace

SimType1::~SimType1() {
  while (!groups_.empty()) DetachGroup(*groups_.back());
}

bool SimType1::is_nesting() const { return type_ == uapi::VFIO_TYPE1_NESTING_IOMMU; }

int SimType1::AttachGroup(SimTask& task, const SimVfioGroup& group) {
  if (!system_.machine.iommu.interrupt_remapping) return -EPERM;
  if (is_nesting()) {
    if (const int result = StartNesting(task, group); result != 0) return result;
  }
  for (const int device : group.devices()) system_.iommu.Attach(device, stage2_);
  groups_.push_back(&group);
  return 0;
}

int SimType1::StartNesting(const SimTask& task, const SimVfioGroup& group) {
  const SimMachine& machine = system_.machine;
  if (machine.personality != SimPersonality::kSeriesV6) {
    return machine.iommu.hardware == SimIommuHardware::kSmmuV3 ? -EPERM : -EINVAL;
  }
  if (!groups_.empty()) return -EINVAL;
  if (!machine.iommu.nesting) return -ENODEV;
  std::shared_ptr<SimPasidSet> pasids;
  if ((machine.iommu.nesting_features & uapi::IOMMU_NESTING_FEAT_SYSWIDE_PASID) != 0) {
    if (!machine.iommu.vfio_pasid) return -ENOTTY;
    pasids = system_.pasids.GetSet(task.address_space());
    if (pasids == nullptr) return -ENOSPC;
  }
  nesting_ = std::make_unique<SimNesting>(system_, stage2_, group.devices(), std::move(pasids));
  return 0;
}

void SimType1::DetachGroup(const SimVfioGroup& group) {
  for (const int device : group.devices()) system_.iommu.Detach(device);
  std::erase(groups_, &group);
  if (!groups_.empty()) return;
  for (auto mapping = mappings_.begin(); mapping != mappings_.end();) mapping = Remove(mapping);
  nesting_.reset();
}

int SimType1::Ioctl(SimTask& task, uint32_t request, uint64_t argument) {
  const bool has_nesting_calls = system_.machine.personality == SimPersonality::kSeriesV6;
  switch (request) {
    case uapi::VFIO_IOMMU_GET_INFO:
      return GetInfo(task, argument);
    case uapi::VFIO_IOMMU_MAP_DMA:
      return MapDma(task, argument);
    case uapi::VFIO_IOMMU_UNMAP_DMA:
      return UnmapDma(task, argument);
    case uapi::VFIO_IOMMU_PASID_REQUEST:
      return has_nesting_calls ? PasidRequest(task, argument, nesting_.get()) : -ENOTTY;
    case uapi::VFIO_IOMMU_NESTING_OP:
      return has_nesting_calls ? NestingOperation(task, argument, nesting_.get()) : -ENOTTY;
    default:
      return -ENOTTY;
  }
}

int SimType1::GetInfo(SimTask& task, uint64_t argument) const {
  uapi::vfio_iommu_type1_info info = {};
  if (!task.memory().Read(argument, &info, kInfoMinSize)) return -EFAULT;
  if (info.argsz < kInfoMinSize) return -EINVAL;
  // The series fails the whole call where the IOMMU driver knows no format (SMMU).
  if (nesting_ != nullptr &&
      system_.machine.iommu.nesting_format == uapi::IOMMU_PASID_FORMAT_NONE) {
    return -ENOENT;
  }
  const uint32_t known = info.argsz < kInfoCapabilitySize ? kInfoMinSize : kInfoCapabilitySize;
  const std::vector<uint8_t> capabilities =
      Type1Capabilities(system_.machine, mappings_.size(), nesting_ != nullptr);
  info.flags = uapi::VFIO_IOMMU_INFO_PGSIZES | uapi::VFIO_IOMMU_INFO_CAPS;
  info.iova_pgsizes = PageSizes(system_.machine.personality);
  const size_t needed = sizeof(info) + capabilities.size();
  if (info.argsz < needed) {
    info.argsz = static_cast<uint32_t>(needed);
  } else {
    info.cap_offset = sizeof(info);
    if (!task.memory().Write(argument + sizeof(info), capabilities.data(), capabilities.size())) {
      return -EFAULT;
    }
  }
  return task.memory().Write(argument, &info, known) ? 0 : -EFAULT;
}

int SimType1::MapDma(SimTask& task, uint64_t argument) {
  uapi::vfio_iommu_type1_dma_map map;
  if (!task.memory().Read(argument, &map)) return -EFAULT;
  if (const int result = CheckForm(system_.machine.personality, map); result != 0) return result;
  const uint64_t last = map.iova + map.size - 1;
  if (FindMapping(map.iova, last) != mappings_.end()) return -EEXIST;
  if (mappings_.size() >= system_.machine.iommu.dma_entry_limit) return -ENOSPC;
  if (!IsValidIova(system_.machine.iommu, map.iova, last)) return -EINVAL;
  const bool writable = (map.flags & uapi::VFIO_DMA_MAP_FLAG_WRITE) != 0;
  if (!task.memory().IsMapped(map.vaddr, map.size, writable)) return -EFAULT;
  const uint64_t frame = system_.memory.Pin(task.memory(), map.vaddr, map.size);
  mappings_[map.iova] = {map.size, frame, task.address_space()};
  stage2_.Map(map.iova, {.size = map.size,
                         .host_address = frame,
                         .readable = (map.flags & uapi::VFIO_DMA_MAP_FLAG_READ) != 0,
                         .writable = writable});
  return 0;
}

int SimType1::UnmapDma(SimTask& task, uint64_t argument) {
  uapi::vfio_iommu_type1_dma_unmap unmap;
  if (!task.memory().Read(argument, &unmap)) return -EFAULT;
  if (const int result = CheckForm(system_.machine.personality, unmap); result != 0) return result;
  const uint64_t last = unmap.iova + unmap.size - 1;
  if (type_ != uapi::VFIO_TYPE1_IOMMU && Bisects(unmap.iova, last)) return -EINVAL;
  unmap.size = 0;
  // The first version of type1 leaves a mapping whose start is not inside; and only the
  // process that mapped may unmap.
  for (auto mapping = FindMapping(unmap.iova, last);
       mapping != mappings_.end() && mapping->first >= unmap.iova && mapping->first <= last &&
       mapping->second.address_space == task.address_space();) {
    unmap.size += mapping->second.size;
    mapping = Remove(mapping);
  }
  return task.memory().Write(argument, unmap) ? 0 : -EFAULT;
}

bool SimType1::Bisects(uint64_t iova, uint64_t last) {
  const auto first_mapping = FindMapping(iova, iova);
  if (first_mapping != mappings_.end() && first_mapping->first != iova) return true;
  const auto last_mapping = FindMapping(last, last);
  return last_mapping != mappings_.end() &&
         last_mapping->first + last_mapping->second.size - 1 != last;
}

SimType1::Mappings::iterator SimType1::FindMapping(uint64_t iova, uint64_t last) {
  auto mapping = mappings_.upper_bound(iova);
  if (mapping != mappings_.begin()) {
    const auto before = std::prev(mapping);
    if (iova - before->first < before->second.size) return before;
  }
  return mapping != mappings_.end() && mapping->first <= last ? mapping : mappings_.end();
}

SimType1::Mappings::iterator SimType1::Remove(Mappings::iterator mapping) {
  stage2_.Unmap(mapping->first);
  system_.iommu.FlushDomain(stage2_);
  system_.memory.Unpin(mapping->second.frame);
  return mappings_.erase(mapping);
}

}  // namespace nestor::kernel
