// Does the steps of a plan.
#pragma once

#include "agent/core/plan.h"
#include "agent/shim/shim_core.h"
#include "agent/vfio/iommu_backend.h"

namespace nestor::agent {

// Does one step on the kernel objects of a virtual machine. A device is probed just before
// it is attached, since an attached one answers no probe. It is reset on its way in, so that
// no machine sees what another left there, and on its way out. One whose reset fails is not
// handed out: the attach fails with DEVICE_RESET_FAILED (UNAVAILABLE), and what can be reset
// in no way is handed out as it is, as VFIO does. Going out it goes whatever the reset says.
// Blocks as long as the kernel does.
StepResult Execute(const Step& step, IommuBackend& backend, AddressSpace& address_space);

}  // namespace nestor::agent
