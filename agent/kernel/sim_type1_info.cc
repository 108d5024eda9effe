#include "agent/kernel/sim_type1_info.h"

#include <cstring>

#include "agent/kernel/sim_iova_ranges.h"

namespace nestor::kernel {
namespace {

// DIRTY_BITMAP_SIZE_MAX of 5.10.
constexpr uint64_t kMaxDirtyBitmapSize = uint64_t{1} << 28;

using Bytes = std::vector<uint8_t>;

template <typename Struct>
void Append(Bytes& bytes, const Struct& value) {
  const size_t end = bytes.size();
  bytes.resize(end + sizeof(value));
  std::memcpy(bytes.data() + end, &value, sizeof(value));
}

Bytes MigrationCapability() {
  uapi::vfio_iommu_type1_info_cap_migration capability = {};
  capability.header = {uapi::VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, 1, 0};
  capability.pgsize_bitmap = 4096;
  capability.max_dirty_bitmap_size = kMaxDirtyBitmapSize;
  Bytes bytes;
  Append(bytes, capability);
  return bytes;
}

Bytes DmaAvailCapability(const SimIommuProperties& iommu, size_t mappings) {
  uapi::vfio_iommu_type1_info_dma_avail capability = {};
  capability.header = {uapi::VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, 0};
  capability.avail = iommu.dma_entry_limit - static_cast<uint32_t>(mappings);
  Bytes bytes;
  Append(bytes, capability);
  return bytes;
}

Bytes IovaRangeCapability(const SimIommuProperties& iommu) {
  const auto ranges = ValidIovaRanges(iommu);
  uapi::vfio_iommu_type1_info_cap_iova_range capability = {};
  capability.header = {uapi::VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1, 0};
  capability.nr_iovas = static_cast<uint32_t>(ranges.size());
  Bytes bytes;
  Append(bytes, capability);
  for (const uapi::vfio_iova_range& range : ranges) Append(bytes, range);
  return bytes;
}

Bytes NestingCapability(const SimIommuProperties& iommu) {
  uapi::iommu_nesting_info info = {};
  info.argsz = sizeof(info) + sizeof(uapi::iommu_nesting_info_vtd);
  info.format = iommu.nesting_format;
  info.features = iommu.nesting_features;
  info.addr_width = static_cast<uint16_t>(iommu.address_width);
  info.pasid_bits = static_cast<uint16_t>(iommu.pasid_bits);
  uapi::iommu_nesting_info_vtd vtd = {};
  vtd.cap_reg = VtdCapabilityRegister(iommu);
  vtd.ecap_reg = VtdExtendedCapabilityRegister(iommu);
  Bytes bytes;
  Append(bytes, uapi::vfio_info_cap_header{uapi::VFIO_IOMMU_TYPE1_INFO_CAP_NESTING, 1, 0});
  Append(bytes, info);
  Append(bytes, vtd);
  return bytes;
}

// vfio_info_cap_add() begins each capability on a multiple of 8.
void Pad(Bytes& bytes) { bytes.resize((bytes.size() + 7) / 8 * 8); }

// Each header but the last names the place of the next, counted from the struct before them.
Bytes Link(std::vector<Bytes> capabilities) {
  Bytes chain;
  for (Bytes& capability : capabilities) {
    const bool is_last = &capability == &capabilities.back();
    if (!is_last) Pad(capability);
    const auto next = static_cast<uint32_t>(sizeof(uapi::vfio_iommu_type1_info) + chain.size() +
                                            capability.size());
    if (!is_last) {
      std::memcpy(capability.data() + offsetof(uapi::vfio_info_cap_header, next), &next,
                  sizeof(next));
    }
    chain.insert(chain.end(), capability.begin(), capability.end());
  }
  return chain;
}

}  // namespace

std::vector<uapi::vfio_iova_range> ValidIovaRanges(const SimIommuProperties& iommu) {
  std::vector<uapi::vfio_iova_range> ranges;
  for (const SimIovaRange& range : Remaining(LastIova(iommu), ReservedIovas(iommu))) {
    ranges.push_back({range.first, range.last});
  }
  return ranges;
}

uint64_t PageSizes(SimPersonality personality) {
  // Old VT-d drivers claimed every power of two; newer ones name 4 KiB, 2 MiB and 1 GiB.
  return personality == SimPersonality::kSeriesV6 ? ~uint64_t{4095} : 0x40201000;
}

std::vector<uint8_t> Type1Capabilities(const SimMachine& machine, size_t mappings, bool nesting) {
  std::vector<Bytes> capabilities = {MigrationCapability()};
  if (machine.personality != SimPersonality::kSeriesV6) {
    capabilities.push_back(DmaAvailCapability(machine.iommu, mappings));
  }
  capabilities.push_back(IovaRangeCapability(machine.iommu));
  if (nesting) capabilities.push_back(NestingCapability(machine.iommu));
  return Link(std::move(capabilities));
}

}  // namespace nestor::kernel
