// What a binding must be before a kernel is asked: kernels mask or ignore some errors.
#pragma once

#include "absl/status/status.h"
#include "agent/core/host_state.h"

namespace nestor::agent {

// INVALID_ARGUMENT FIELD_INVALID: 0, or beyond the device's PASID bits.
absl::Status ValidatePasid(uint32_t pasid, const DeviceCapabilities& capabilities);

// Whether VT-d can walk `table` for that PASID on a device of these capabilities.
// UNIMPLEMENTED UNSUPPORTED: PASID 0, the device itself, whose meaning the series' review
// left open. INVALID_ARGUMENT with FORMAT_UNSUPPORTED (not VTD_S1), FIELD_INVALID (PASID out
// of range, width neither 48 nor 57, root not 4 KiB aligned or beyond the guest's address
// width) or DEVICE_UNSUITABLE (five levels or a flag the hardware lacks).
absl::Status ValidateVtdBinding(const BindingKey& key, const PageTable& table,
                                const DeviceCapabilities& capabilities);

}  // namespace nestor::agent
