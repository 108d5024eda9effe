// Does the steps of a plan.
#pragma once

#include "agent/core/plan.h"
#include "agent/shim/shim_core.h"
#include "agent/vfio/iommu_backend.h"

namespace nestor::agent {

// Does one step on the kernel objects of a virtual machine. A device is probed just before
// it is attached, since an attached one answers no probe. Blocks as long as the kernel does.
StepResult Execute(const Step& step, IommuBackend& backend, AddressSpace& address_space);

}  // namespace nestor::agent
