// Why a device cannot be used: one status for each cause, the same wherever it is noticed.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "agent/vfio/pci_inventory.h"

namespace nestor::agent {

// VT-d PASIDs have 20 bits, and type1 binds those of a device only if it has all of them.
inline constexpr uint32_t kVtdPasidBits = 20;

// FAILED_PRECONDITION, unless another code says better, with a reason of
// the backend's header.
absl::Status Refuse(absl::string_view reason, absl::string_view message,
                    absl::StatusCode code = absl::StatusCode::kFailedPrecondition);

// NESTING_UNSUPPORTED_KERNEL: `what` lacks, with what to do, for type1 and for iommufd.
absl::Status NestingUnsupportedByKernel(absl::string_view what);
absl::Status IommufdNestingUnsupportedByKernel(absl::string_view what);
// NESTING_UNSUPPORTED_HARDWARE, likewise.
absl::Status NestingUnsupportedByHardware(absl::string_view what);
absl::Status IommufdNestingUnsupportedByHardware(absl::string_view what);
// NO_VFIO, NO_IOMMUFD: `what` says what is not there.
absl::Status NoVfio(absl::string_view what);
absl::Status NoIommufd(absl::string_view what);
// GROUP_BUSY (UNAVAILABLE): another process has `node` of `function`.
absl::Status NodeBusy(const PciFunction& function, absl::string_view node);
// PASID_UNSUPPORTED of the IOMMU in front of `device`.
absl::Status IommuWithoutPasids(absl::string_view device);
// GROUP_NOT_VIABLE: some of `siblings` are bound to drivers of the host.
absl::Status GroupNotViable(const PciFunction& function, const std::vector<Bdf>& siblings);

// All that is wrong with a function by what sysfs shows of it alone, in the order in which
// opening it meets them: NO_IOMMU_GROUP, DRIVER_NOT_VFIO, GROUP_SHARED; and, for type1,
// PASID_UNSUPPORTED.
std::vector<absl::Status> RefusalsOf(const PciFunction& function, absl::string_view backend);
// The same one by one; OK where it is not so.
absl::Status CheckHasGroup(const PciFunction& function);
absl::Status CheckDriver(const PciFunction& function);
absl::Status CheckAlone(const PciFunction& function);
absl::Status CheckPasidWidth(const PciFunction& function);

}  // namespace nestor::agent
