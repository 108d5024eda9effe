// IOMMU_HWPT_INVALIDATE, check by check in the kernel's order.
#include <bit>
#include <cerrno>
#include <limits>
#include <memory>

#include "agent/kernel/sim_hwpt.h"
#include "agent/kernel/sim_iommufd_calls.h"
#include "agent/kernel/sim_system.h"
#include "agent/kernel/sim_viommu.h"

namespace nestor::kernel {
namespace {

constexpr uint64_t kPageSize = 4096;
constexpr uint64_t kAllPages = std::numeric_limits<uint64_t>::max();
// Bounds of the newest kernels.
constexpr uint32_t kMaxEntries = 1u << 19;
constexpr uint32_t kMaxEntrySize = 4096;

// Commands of an SMMU that a guest may give (Arm SMMUv3 specification, chapter 4).
enum SmmuCommand : uint64_t {
  kConfigurationOfContext = 0x05,
  kConfigurationOfAllContexts = 0x06,
  kTlbOfEverything = 0x10,
  kTlbOfAddressSpace = 0x11,
  kTlbOfAddress = 0x12,
  kTlbOfAddressInAll = 0x13,
  kTlbOfNonSecure = 0x30,
  kDeviceTlb = 0x40,
};

// The smallest block of a power of two of pages, aligned to its size, that has them all: what
// VT-d's hardware can be asked for.
void DropPages(SimIommu& iommu, int device, uint32_t pasid, uint64_t address, uint64_t pages) {
  const uint64_t last = address + pages * kPageSize - 1;
  const bool overflows = pages > kAllPages / kPageSize || last < address;
  const int order = overflows ? 64 : std::bit_width((address ^ last) / kPageSize);
  if (order > 51) return iommu.FlushPasid(device, pasid);
  const uint64_t mask = (kPageSize << order) - 1;
  iommu.FlushRange(device, pasid, address & ~mask, address | mask);
}

int InvalidateVtd(SimIommufdCall& call, const SimHwpt* hwpt, uint64_t address) {
  uapi::iommu_hwpt_vtd_s1_invalidate entry;
  if (!call.task.memory().Read(address, &entry)) return -EFAULT;
  const bool everything = entry.npages == kAllPages;
  if ((entry.flags & ~uapi::IOMMU_VTD_INV_FLAGS_LEAF) != 0 || entry.reserved != 0) {
    return -EOPNOTSUPP;
  }
  if (entry.addr % kPageSize != 0 || (everything && entry.addr != 0)) return -EINVAL;
  if (entry.npages == 0) return 0;
  SimIommu& iommu = call.context.system().iommu;
  call.context.attachments().ForEachEntryOf(hwpt, [&](int device, uint32_t pasid) {
    if (everything) return iommu.FlushPasid(device, pasid);
    DropPages(iommu, device, pasid, entry.addr, entry.npages);
  });
  return 0;
}

// No translation of a guest's SMMU is ever kept, so a legal command has nothing to do.
int InvalidateSmmu(SimIommufdCall& call, const SimViommu& viommu, uint64_t address) {
  uapi::iommu_viommu_arm_smmuv3_invalidate entry;
  if (!call.task.memory().Read(address, &entry)) return -EFAULT;
  switch (entry.cmd[0] & 0xff) {
    case kTlbOfNonSecure:
    case kTlbOfEverything:
    case kTlbOfAddressSpace:
    case kTlbOfAddress:
    case kTlbOfAddressInAll:
      return 0;
    case kDeviceTlb:
    case kConfigurationOfContext:
    case kConfigurationOfAllContexts:
      return viommu.Find(entry.cmd[0] >> 32) != nullptr ? 0 : -EIO;
    default:
      return -EIO;
  }
}

// Does the entries up to the first that is refused: `done` says how many.
template <typename Invalidate>
int ForEachEntry(const uapi::iommu_hwpt_invalidate& call, uint32_t type, size_t size,
                 uint32_t* done, Invalidate invalidate) {
  if (call.data_type != type) return -EINVAL;
  if (call.entry_num > 0 && call.entry_len < size) return -EINVAL;
  for (; *done < call.entry_num; ++*done) {
    const int result = invalidate(call.data_uptr + uint64_t{*done} * call.entry_len);
    if (result != 0) return result;
  }
  return 0;
}

int Check(const SimMachine& machine, const uapi::iommu_hwpt_invalidate& invalidate) {
  if (invalidate.reserved != 0) return -EOPNOTSUPP;
  if (invalidate.entry_num == 0) return 0;
  if (invalidate.data_uptr == 0 || invalidate.entry_len == 0) return -EINVAL;
  // Releases before had no bound; here a call must end.
  const bool bounded = machine.personality == SimPersonality::kLinux7_2;
  if (bounded && invalidate.entry_len > kMaxEntrySize) return -EINVAL;
  return invalidate.entry_num > kMaxEntries ? -EINVAL : 0;
}

int Run(SimIommufdCall& call, const uapi::iommu_hwpt_invalidate& invalidate, uint32_t* done) {
  const int result = Check(call.context.system().machine, invalidate);
  if (result != 0) return result;
  const auto target = call.context.Get<SimIommufdObject>(invalidate.hwpt_id);
  if (target == nullptr) return -ENOENT;
  if (const auto* viommu = dynamic_cast<const SimViommu*>(target.get())) {
    return ForEachEntry(invalidate, uapi::IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
                        sizeof(uapi::iommu_viommu_arm_smmuv3_invalidate), done,
                        [&](uint64_t address) { return InvalidateSmmu(call, *viommu, address); });
  }
  const auto* nested = dynamic_cast<const SimNestedHwpt*>(target.get());
  if (nested == nullptr) return -EINVAL;
  if (dynamic_cast<const SimVtdNestedHwpt*>(nested) == nullptr) return -EOPNOTSUPP;
  return ForEachEntry(invalidate, uapi::IOMMU_HWPT_INVALIDATE_DATA_VTD_S1,
                      sizeof(uapi::iommu_hwpt_vtd_s1_invalidate), done,
                      [&](uint64_t address) { return InvalidateVtd(call, nested, address); });
}

}  // namespace

int HwptInvalidate(SimIommufdCall& call, uapi::iommu_hwpt_invalidate* invalidate) {
  uint32_t done = 0;
  const int result = Run(call, *invalidate, &done);
  invalidate->entry_num = done;
  return result;
}

}  // namespace nestor::kernel
