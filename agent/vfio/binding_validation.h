// What a binding must be before a kernel is asked: kernels mask or ignore some errors.
#pragma once

#include <set>

#include "absl/status/status.h"
#include "agent/core/host_state.h"

namespace nestor::agent {

// INVALID_ARGUMENT FIELD_INVALID: 0, or beyond the device's PASID bits.
absl::Status ValidatePasid(uint32_t pasid, const DeviceCapabilities& capabilities);

// Whether a device of these capabilities can walk `table` there. UNIMPLEMENTED UNSUPPORTED:
// PASID 0, the device itself, where only its PASIDs can be bound (type1, whose series left
// open what that would mean), or a PASID where only the device itself can (SMMUv3, whose
// guests keep their PASIDs' tables themselves). INVALID_ARGUMENT with FORMAT_UNSUPPORTED,
// FIELD_INVALID (PASID out of range, width neither 48 nor 57, root not 4 KiB aligned or beyond
// the guest's address width) or DEVICE_UNSUITABLE (five levels or a flag the hardware lacks).
absl::Status ValidateBinding(const BindingKey& key, const PageTable& table,
                             const DeviceCapabilities& capabilities);

// INVALID_ARGUMENT FIELD_INVALID: the root lies in none of these regions.
absl::Status ValidateRootInMemory(const PageTable& table, const std::set<MemoryRegion>& memory);

}  // namespace nestor::agent
