#include "agent/kernel/sim_iova_ranges.h"

#include <algorithm>
#include <limits>

namespace nestor::kernel {
namespace {

// Where processors of x86 take interrupt messages, where SMMU drivers put their window, and
// what AMD processors use for HyperTransport.
constexpr SimIovaRange kInterruptWindow = {0xfee0'0000, 0xfeef'ffff};
constexpr SimIovaRange kSoftwareInterruptWindow = {0x800'0000, 0x80f'ffff};
constexpr SimIovaRange kHyperTransportWindow = {0xfd'0000'0000, 0xff'ffff'ffff};

}  // namespace

uint64_t LastIova(const SimIommuProperties& iommu) {
  return std::numeric_limits<uint64_t>::max() >> (64 - iommu.address_width);
}

std::vector<SimIovaRange> ReservedIovas(const SimIommuProperties& iommu) {
  switch (iommu.hardware) {
    case SimIommuHardware::kSmmuV3:
      return {kSoftwareInterruptWindow};
    case SimIommuHardware::kAmd:
      return {kInterruptWindow, kHyperTransportWindow};
    case SimIommuHardware::kVtd:
      break;
  }
  return {kInterruptWindow};
}

std::vector<SimIovaRange> Remaining(uint64_t last, std::vector<SimIovaRange> taken) {
  std::sort(taken.begin(), taken.end(),
            [](const auto& one, const auto& other) { return one.first < other.first; });
  std::vector<SimIovaRange> left;
  uint64_t next = 0;
  for (const SimIovaRange& range : taken) {
    if (range.first > last) break;
    if (range.first > next) left.push_back({next, range.first - 1});
    if (range.last >= last) return left;
    next = std::max(next, range.last + 1);
  }
  left.push_back({next, last});
  return left;
}

}  // namespace nestor::kernel
