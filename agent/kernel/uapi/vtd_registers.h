// Bits of VT-d's capability registers beyond those that the nesting series reports,
// as /sys/class/iommu/{unit}/intel-iommu/ shows the whole of them (Intel VT-d
// specification, 11.4.2 and 11.4.3).
// NOLINTBEGIN(readability-identifier-naming): the specification's names.
#pragma once

#include <cstdint>

namespace nestor::kernel::uapi {

// Maximum guest address width: one less than its bits.
inline constexpr int VTD_CAP_MGAW_SHIFT = 16;
inline constexpr uint64_t VTD_ECAP_NEST = 1ull << 26;  // nested translation
inline constexpr uint64_t VTD_ECAP_SMTS = 1ull << 43;  // scalable mode
inline constexpr uint64_t VTD_ECAP_SSTS = 1ull << 46;  // its second stage
inline constexpr uint64_t VTD_ECAP_FSTS = 1ull << 47;  // its first stage
// PASID size: one less than the bits of a PASID, where VTD_ECAP_PASID says there are any.
inline constexpr int VTD_ECAP_PSS_SHIFT = 35;
inline constexpr uint64_t VTD_ECAP_PSS_MASK = 0x1f;

}  // namespace nestor::kernel::uapi
// NOLINTEND(readability-identifier-naming)
