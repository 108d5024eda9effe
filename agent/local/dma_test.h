// Has the device of a simulated kernel read memory, as its driver would.
#pragma once

#include "absl/status/statusor.h"
#include "agent/shim/shim.h"
#include "nestor/v1/local_agent_service.pb.h"

namespace nestor::agent {

// The request is valid; `shim` has the device attached. A refusal by the IOMMU is in the
// response. The guest's driver uses the same registers: while it does, either may get the
// other's answer. Blocks as the shim's regions do.
// FAILED_PRECONDITION NOT_SIMULATED: it is another device. Errors of the shim are passed on.
absl::StatusOr<v1::DmaTestResponse> RunDmaTest(Shim& shim, const v1::DmaTestRequest& request);

}  // namespace nestor::agent
