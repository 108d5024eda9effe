// Finds the nesting capability in a reply of VFIO_IOMMU_GET_INFO.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"

namespace nestor::agent {

// What an IOMMU driver says of its stage 1. `format` tells whether the registers are there.
struct NestingCapability {
  uint32_t format = 0;    // never 0, which means none
  uint32_t features = 0;  // IOMMU_NESTING_FEAT_*
  uint32_t address_width = 0;
  uint32_t pasid_bits = 0;
  uint64_t capability_register = 0;           // VT-d CAP_REG, as far as it concerns stage 1
  uint64_t extended_capability_register = 0;  // VT-d ECAP_REG, likewise
  bool operator==(const NestingCapability&) const = default;
};

// Reads the reply `info` (struct vfio_iommu_type1_info and the chain behind it), which may
// hold anything: no byte outside it is read, and the walk ends.
//
// Capability id 3 means nesting in the series and DMA_AVAIL in mainline. It is taken for
// nesting only if its body is one: version 1, a size that fits between it and what follows,
// no flags, a format. NOT_FOUND: the chain has none. DATA_LOSS: the chain is broken.
absl::StatusOr<NestingCapability> ParseNestingCapability(std::span<const uint8_t> info);

}  // namespace nestor::agent
