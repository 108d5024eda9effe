#include "agent/kernel/sim_nesting_data.h"

#include <algorithm>
#include <cerrno>
#include <iterator>

namespace nestor::kernel {
namespace {

template <size_t kSize>
bool IsZero(const uint8_t (&bytes)[kSize]) {
  return std::all_of(std::begin(bytes), std::end(bytes), [](uint8_t byte) { return byte == 0; });
}

// Copies the first `known` bytes, then as many more as the struct, whose first field is its
// size, says it has. -EFAULT, or -EINVAL where it says fewer than `known`.
template <typename Struct>
int CopyBySize(const UserMemory& memory, uint64_t address, size_t known, Struct* copy) {
  *copy = {};
  if (!memory.Read(address, copy, known)) return -EFAULT;
  if (copy->argsz < known) return -EINVAL;
  const size_t size = std::min<size_t>(copy->argsz, sizeof(*copy));
  auto* rest = reinterpret_cast<uint8_t*>(copy) + known;
  return memory.Read(address + known, rest, size - known) ? 0 : -EFAULT;
}

bool IsKnownInvalidation(const uapi::iommu_cache_invalidate_info& info) {
  constexpr uint8_t kCaches = uapi::IOMMU_CACHE_INV_TYPE_IOTLB |
                              uapi::IOMMU_CACHE_INV_TYPE_DEV_IOTLB |
                              uapi::IOMMU_CACHE_INV_TYPE_PASID;
  constexpr uint32_t kPasidFlags =
      uapi::IOMMU_INV_PASID_FLAGS_PASID | uapi::IOMMU_INV_PASID_FLAGS_ARCHID;
  constexpr uint32_t kAddressFlags = uapi::IOMMU_INV_ADDR_FLAGS_PASID |
                                     uapi::IOMMU_INV_ADDR_FLAGS_ARCHID |
                                     uapi::IOMMU_INV_ADDR_FLAGS_LEAF;
  if (info.version != uapi::IOMMU_CACHE_INVALIDATE_INFO_VERSION_1) return false;
  if ((info.cache & ~kCaches) != 0 || !IsZero(info.padding)) return false;
  switch (info.granularity) {
    case uapi::IOMMU_INV_GRANU_DOMAIN:
      return true;
    case uapi::IOMMU_INV_GRANU_PASID:
      return info.argsz >= uapi::IOMMU_INV_PASID_MIN_SIZE &&
             (info.granu.pasid_info.flags & ~kPasidFlags) == 0;
    case uapi::IOMMU_INV_GRANU_ADDR:
      return info.argsz >= uapi::IOMMU_INV_ADDR_MIN_SIZE &&
             (info.granu.addr_info.flags & ~kAddressFlags) == 0;
    default:
      return false;
  }
}

}  // namespace

int CopyBindData(const UserMemory& memory, uint64_t address, uapi::iommu_gpasid_bind_data* data) {
  const int result = CopyBySize(memory, address, uapi::IOMMU_GPASID_BIND_MIN_SIZE, data);
  if (result != 0) return result;
  const bool is_known = data->version == uapi::IOMMU_GPASID_BIND_VERSION_1 &&
                        data->format < uapi::IOMMU_PASID_FORMAT_LAST &&
                        (data->flags & ~uapi::IOMMU_SVA_GPASID_VAL) == 0 && IsZero(data->padding);
  return is_known ? 0 : -EINVAL;
}

int CopyInvalidateInfo(const UserMemory& memory, uint64_t address,
                       uapi::iommu_cache_invalidate_info* info) {
  const int result = CopyBySize(memory, address, uapi::IOMMU_INV_DOMAIN_MIN_SIZE, info);
  if (result != 0) return result;
  return IsKnownInvalidation(*info) ? 0 : -EINVAL;
}

}  // namespace nestor::kernel
