// Which I/O addresses an IOMMU and its devices leave to their users.
#pragma once

#include <cstdint>
#include <vector>

#include "agent/kernel/sim_machine.h"

namespace nestor::kernel {

// Both ends are inclusive.
struct SimIovaRange {
  uint64_t first = 0;
  uint64_t last = 0;
  bool operator==(const SimIovaRange&) const = default;
};

inline bool Overlaps(const SimIovaRange& one, const SimIovaRange& other) {
  return one.first <= other.last && other.first <= one.last;
}

// The highest address that stage 2 translates.
uint64_t LastIova(const SimIommuProperties& iommu);

// What no device may be mapped at, in order: the window of interrupt messages, and on AMD that
// of HyperTransport.
std::vector<SimIovaRange> ReservedIovas(const SimIommuProperties& iommu);

// What is left of [0, last] without `taken`, in order.
std::vector<SimIovaRange> Remaining(uint64_t last, std::vector<SimIovaRange> taken);

}  // namespace nestor::kernel
