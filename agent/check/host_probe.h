// Reads what `nestor-agent check` judges. Every file is optional: what may not be read or is
// not there stays unknown.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "agent/check/judgement.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/iommu_backend.h"
#include "nestor/v1/host_check.pb.h"

namespace nestor::agent {

// Kernel, IOMMUs and memory lock limit, without devices. `backend`: IommuBackend::name() of
// the one that probes. `needed_memory` in bytes: of the guests that will run here.
v1::HostCheck ReadHostFacts(kernel::Syscalls& syscalls, absl::string_view backend,
                            uint64_t needed_memory);

// Which devices to look at.
struct DeviceSelection {
  std::vector<Bdf> devices;  // these; empty: see below
  // All PCI functions but bridges. Without it, those that are meant for guests: bound to
  // vfio-pci, or with a PASID capability as far as that may be read.
  bool all = false;
};

// Probes the devices; the backend leaves nothing open. NOT_FOUND NO_DEVICE: one that was
// named is not there. Other errors: sysfs cannot be read.
absl::StatusOr<std::vector<ProbedDevice>> ProbeDevices(kernel::Syscalls& syscalls,
                                                       IommuBackend& backend,
                                                       const DeviceSelection& selection);

}  // namespace nestor::agent
