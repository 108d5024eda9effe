// IOMMU_IOAS_*, IOMMU_OPTION and IOMMU_VFIO_IOAS, check by check in the kernel's order.
#include <cerrno>
#include <limits>
#include <memory>
#include <vector>

#include "agent/kernel/sim_ioas.h"
#include "agent/kernel/sim_iommufd_calls.h"
#include "agent/kernel/sim_system.h"

namespace nestor::kernel {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
// More than any caller has use for; it bounds what is read.
constexpr uint32_t kMaxRanges = 4096;

constexpr uint32_t kRightFlags = uapi::IOMMU_IOAS_MAP_WRITEABLE | uapi::IOMMU_IOAS_MAP_READABLE;
constexpr uint32_t kMapFlags = kRightFlags | uapi::IOMMU_IOAS_MAP_FIXED_IOVA;

SimIoas::Rights RightsOf(uint32_t flags) {
  return {.readable = (flags & uapi::IOMMU_IOAS_MAP_READABLE) != 0,
          .writable = (flags & uapi::IOMMU_IOAS_MAP_WRITEABLE) != 0};
}

// What the calls that map have in common.
int CheckMap(uint32_t flags, uint64_t iova, uint64_t length) {
  if ((flags & ~kMapFlags) != 0) return -EOPNOTSUPP;
  if (iova == kMax || length == kMax) return -EOVERFLOW;
  return (flags & kRightFlags) == 0 ? -EINVAL : 0;
}

int MapPages(SimIoas& ioas, uint32_t flags, uint64_t length, std::shared_ptr<SimPinnedPages> pages,
             uint64_t* iova) {
  if ((flags & uapi::IOMMU_IOAS_MAP_FIXED_IOVA) == 0) {
    if (const int result = ioas.ChooseIova(length, iova); result != 0) return result;
  }
  return ioas.Map(*iova, length, std::move(pages), RightsOf(flags));
}

}  // namespace

int IoasAlloc(SimIommufdCall& call, uapi::iommu_ioas_alloc* alloc) {
  if (alloc->flags != 0) return -EOPNOTSUPP;
  alloc->out_ioas_id = call.context.Add(std::make_shared<SimIoas>(call.context.system()));
  return 0;
}

int IoasAllowIovas(SimIommufdCall& call, uapi::iommu_ioas_allow_iovas* allow) {
  if (allow->reserved != 0) return -EOPNOTSUPP;
  const auto ioas = call.context.Get<SimIoas>(allow->ioas_id);
  if (ioas == nullptr) return -ENOENT;
  if (allow->num_iovas > kMaxRanges) return -ENOMEM;
  std::vector<SimIovaRange> ranges;
  for (uint32_t i = 0; i < allow->num_iovas; ++i) {
    uapi::iommu_iova_range range;
    if (!call.task.memory().Read(allow->allowed_iovas + i * sizeof(range), &range)) return -EFAULT;
    if (range.start >= range.last) return -EINVAL;
    for (const SimIovaRange& other : ranges) {
      if (Overlaps({range.start, range.last}, other)) return -EINVAL;
    }
    ranges.push_back({range.start, range.last});
  }
  return ioas->Allow(std::move(ranges));
}

int IoasIovaRanges(SimIommufdCall& call, uapi::iommu_ioas_iova_ranges* ranges) {
  if (ranges->reserved != 0) return -EOPNOTSUPP;
  const auto ioas = call.context.Get<SimIoas>(ranges->ioas_id);
  if (ioas == nullptr) return -ENOENT;
  const uint32_t room = ranges->num_iovas;
  ranges->num_iovas = 0;
  for (const SimIovaRange& usable : ioas->Usable()) {
    const uint32_t index = ranges->num_iovas++;
    if (index >= room) continue;
    const uapi::iommu_iova_range range = {.start = usable.first, .last = usable.last};
    if (!call.task.memory().Write(ranges->allowed_iovas + index * sizeof(range), range)) {
      return -EFAULT;
    }
  }
  ranges->out_iova_alignment = ioas->alignment();
  return ranges->num_iovas > room ? -EMSGSIZE : 0;
}

int IoasMap(SimIommufdCall& call, uapi::iommu_ioas_map* map) {
  if (map->reserved != 0) return -EOPNOTSUPP;
  if (const int result = CheckMap(map->flags, map->iova, map->length); result != 0) return result;
  const auto ioas = call.context.Get<SimIoas>(map->ioas_id);
  if (ioas == nullptr) return -ENOENT;
  if (map->user_va + map->length < map->user_va) return -EOVERFLOW;
  if (map->length == 0) return -EINVAL;
  const bool writable = RightsOf(map->flags).writable;
  auto pages = std::make_shared<SimPinnedPages>(call.context.system().memory, call.task.memory(),
                                                map->user_va, map->length, writable);
  return MapPages(*ioas, map->flags, map->length, std::move(pages), &map->iova);
}

int IoasMapFile(SimIommufdCall& call, uapi::iommu_ioas_map_file* map) {
  if (const int result = CheckMap(map->flags, map->iova, map->length); result != 0) return result;
  const auto ioas = call.context.Get<SimIoas>(map->ioas_id);
  if (ioas == nullptr) return -ENOENT;
  if (map->start + map->length < map->start) return -EOVERFLOW;
  const FileDescriptor file = call.task.DuplicateHostFile(map->fd);
  if (!file.valid()) return -EBADF;
  if (map->length == 0) return -EINVAL;
  std::shared_ptr<SimPinnedPages> pages;
  const int result = SimPinnedPages::OfFile(call.context.system().memory, file, map->start,
                                            map->length, RightsOf(map->flags).writable, &pages);
  if (result != 0) return result;
  return MapPages(*ioas, map->flags, map->length, std::move(pages), &map->iova);
}

int IoasCopy(SimIommufdCall& call, uapi::iommu_ioas_copy* copy) {
  if (const int result = CheckMap(copy->flags, copy->dst_iova, copy->length); result != 0) {
    return result;
  }
  const auto source = call.context.Get<SimIoas>(copy->src_ioas_id);
  const auto target = call.context.Get<SimIoas>(copy->dst_ioas_id);
  if (source == nullptr || target == nullptr) return -ENOENT;
  if ((copy->flags & uapi::IOMMU_IOAS_MAP_FIXED_IOVA) == 0) {
    const int result = target->ChooseIova(copy->length, &copy->dst_iova);
    if (result != 0) return result;
  }
  return target->Copy(copy->dst_iova, copy->length, *source, copy->src_iova, RightsOf(copy->flags));
}

int IoasUnmap(SimIommufdCall& call, uapi::iommu_ioas_unmap* unmap) {
  const auto ioas = call.context.Get<SimIoas>(unmap->ioas_id);
  if (ioas == nullptr) return -ENOENT;
  const bool everything = unmap->iova == 0 && unmap->length == kMax;
  if (!everything && (unmap->iova == kMax || unmap->length == kMax)) return -EOVERFLOW;
  if (unmap->length == 0) return -EINVAL;
  const uint64_t last = everything ? kMax : unmap->iova + (unmap->length - 1);
  if (last < unmap->iova) return -EOVERFLOW;
  const int result = ioas->Unmap(unmap->iova, last, &unmap->length);
  return everything ? 0 : result;
}

int IoasChangeProcess(SimIommufdCall& call, uapi::iommu_ioas_change_process* change) {
  if (change->reserved != 0) return -EOPNOTSUPP;
  for (const auto& [id, object] : call.context.objects()) {
    const auto ioas = std::dynamic_pointer_cast<SimIoas>(object);
    if (ioas != nullptr && ioas->HasProcessMemory()) return -EINVAL;
  }
  return 0;
}

int Option(SimIommufdCall& call, uapi::iommu_option* option) {
  if (option->reserved != 0) return -EOPNOTSUPP;
  const bool sets = option->op == uapi::IOMMU_OPTION_OP_SET;
  if (!sets && option->op != uapi::IOMMU_OPTION_OP_GET) return -EOPNOTSUPP;
  if (option->option_id == uapi::IOMMU_OPTION_HUGE_PAGES) {
    if (call.context.Get<SimIoas>(option->object_id) == nullptr) return -ENOENT;
    if (sets) return option->val64 > 1 ? -EINVAL : 0;
    option->val64 = 1;
    return 0;
  }
  if (option->option_id != uapi::IOMMU_OPTION_RLIMIT_MODE || option->object_id != 0) {
    return -EOPNOTSUPP;
  }
  // Nobody here has CAP_SYS_RESOURCE.
  if (sets) return -EPERM;
  option->val64 = 0;
  return 0;
}

int VfioIoas(SimIommufdCall& call, uapi::iommu_vfio_ioas* ioas) {
  if (ioas->reserved != 0) return -EOPNOTSUPP;
  uint32_t& compatible = call.context.compatible_ioas;
  switch (ioas->op) {
    case uapi::IOMMU_VFIO_IOAS_GET:
      if (call.context.Get<SimIoas>(compatible) == nullptr) return -ENODEV;
      ioas->ioas_id = compatible;
      return 0;
    case uapi::IOMMU_VFIO_IOAS_SET:
      if (call.context.Get<SimIoas>(ioas->ioas_id) == nullptr) return -ENOENT;
      compatible = ioas->ioas_id;
      return 0;
    case uapi::IOMMU_VFIO_IOAS_CLEAR:
      compatible = 0;
      return 0;
    default:
      return -EOPNOTSUPP;
  }
}

}  // namespace nestor::kernel
