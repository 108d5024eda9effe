// What the agent's backend adds to the kernel call that binds.
#pragma once

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace nestor::bench {

struct BindCost {
  absl::Duration bind;    // one IommuBackend bind, all of it
  absl::Duration kernel;  // of that, inside the simulated kernel's ioctl
};

// Medians over binds and unbinds of one PASID on a simulated kernel in this process.
absl::StatusOr<BindCost> MeasureBind();

}  // namespace nestor::bench
