// Which of the kernel's interfaces a host's agent uses.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/iommu_backend.h"

namespace nestor::agent {

enum class BackendChoice {
  kAuto,  // what probing finds
  kType1,
  kIommufd,
};

struct ChosenBackend {
  std::unique_ptr<IommuBackend> backend;
  std::string why;  // for the log
};

// One interface for all of a host, chosen once and never left for the other: a device that
// fails with it fails. kAuto takes the interface with which one of the devices bound to
// vfio-pci nests, iommufd first; where none does or can be asked, iommufd if the host has it,
// whose reasons then say what to repair, else type1. Errors: sysfs cannot
// be read. `syscalls` must outlive the backend.
absl::StatusOr<ChosenBackend> ChooseBackend(kernel::Syscalls& syscalls, BackendChoice choice);

}  // namespace nestor::agent
