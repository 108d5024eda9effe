// How each kind of IOMMU takes a guest's first stage through iommufd.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "agent/core/host_state.h"
#include "agent/vfio/iommufd.h"

namespace nestor::agent {

// What differs between IOMMUs; the calls are the same for all. Plain data, so that a test can
// add the format of the kernel's mock.
struct Stage1Format {
  uint32_t hardware_type = 0;  // IOMMU_HW_INFO_TYPE_* that takes it
  PageTableFormat format = PageTableFormat::kUnspecified;
  bool nests_pasids = false;  // else only the whole device
  uint32_t viommu_type = 0;   // IOMMU_VIOMMU_TYPE_* that nested tables stand on; 0: on the parent

  uint32_t hwpt_data_type = 0;
  // The data of a page table with that root.
  std::vector<uint8_t> (*encode)(const PageTable& table) = nullptr;
  // That of one that translates nothing, to ask whether nesting works.
  std::vector<uint8_t> (*encode_empty)() = nullptr;

  uint32_t invalidation_data_type = 0;
  // An entry that drops at least [address, address + size), all where size is 0. The range
  // does not go beyond 2^64.
  std::vector<uint8_t> (*encode_invalidation)(uint64_t address, uint64_t size) = nullptr;

  // Adds what the hardware can do to what is known already.
  void (*describe)(const IommufdHardware& hardware, DeviceCapabilities* capabilities) = nullptr;
};

// Those that Linux 7.2 nests: VT-d and SMMUv3. AMD is not among them: the kernel declares its
// data, but has no way to allocate a nested table from it.
absl::Span<const Stage1Format> LinuxStage1Formats();

}  // namespace nestor::agent
