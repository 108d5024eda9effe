// The way from a PCI address to a device in an iommufd that nests.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "agent/core/host_state.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/iommufd.h"
#include "agent/vfio/iommufd_device.h"
#include "agent/vfio/iommufd_nest.h"
#include "agent/vfio/stage1_format.h"

namespace nestor::agent {

// What a test of the kernel's own mock puts in the place of VFIO and of real IOMMUs.
struct IommufdSeams {
  OpenIommufdDevice open_device = OpenVfioDeviceNode;
  absl::Span<const Stage1Format> formats = LinuxStage1Formats();
};

// Opens /dev/iommu for `device`, which must be bound to VFIO; why not as
// agent/vfio/iommufd_backend.h lists it.
absl::StatusOr<std::unique_ptr<Iommufd>> OpenIommufd(kernel::Syscalls& syscalls, const Bdf& device);

// Binds the device and makes what it nests on, trying every call that a binding will need:
// the hardware's kind, a nest parent, one for PASIDs, an attach of a PASID to nothing, a
// nested table, an empty invalidation. Capabilities come from the answers alone: a kernel may
// report PASIDs that it cannot attach, and a version says nothing of what was backported.
//
// The first answer that rules the device out ends it, everything is undone, and the status
// has a reason of agent/vfio/iommufd_backend.h and a message with the fix: FAILED_PRECONDITION
// where the device cannot nest on this host as it is, another code where asking was
// impossible. `iommufd` must outlive the result.
absl::StatusOr<std::unique_ptr<IommufdNest>> OpenIommufdNest(kernel::Syscalls& syscalls,
                                                             const IommufdSeams& seams,
                                                             Iommufd& iommufd, const Bdf& device);

}  // namespace nestor::agent
