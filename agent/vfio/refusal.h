// Why a device cannot be used: one status for each cause, the same wherever it is noticed.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "agent/vfio/pci_inventory.h"

namespace nestor::agent {

// VT-d PASIDs have 20 bits, and Linux binds those of a device only if it has all of them.
inline constexpr uint32_t kVtdPasidBits = 20;

// FAILED_PRECONDITION, unless another code says better, with a reason of
// agent/vfio/type1_backend.h.
absl::Status Refuse(absl::string_view reason, absl::string_view message,
                    absl::StatusCode code = absl::StatusCode::kFailedPrecondition);

// NESTING_UNSUPPORTED_KERNEL, NESTING_UNSUPPORTED_HARDWARE: `what` lacks, with what to do.
absl::Status NestingUnsupportedByKernel(absl::string_view what);
absl::Status NestingUnsupportedByHardware(absl::string_view what);
// PASID_UNSUPPORTED of the IOMMU in front of `device`.
absl::Status IommuWithoutPasids(absl::string_view device);
// GROUP_NOT_VIABLE: some of `siblings` are bound to drivers of the host.
absl::Status GroupNotViable(const PciFunction& function, const std::vector<Bdf>& siblings);

// All that is wrong with a function by what sysfs shows of it alone, in the order in which
// opening it meets them: NO_IOMMU_GROUP, DRIVER_NOT_VFIO, GROUP_SHARED, PASID_UNSUPPORTED.
std::vector<absl::Status> RefusalsOf(const PciFunction& function);
// The same one by one; OK where it is not so.
absl::Status CheckHasGroup(const PciFunction& function);
absl::Status CheckDriver(const PciFunction& function);
absl::Status CheckAlone(const PciFunction& function);
absl::Status CheckPasidWidth(const PciFunction& function);

}  // namespace nestor::agent
