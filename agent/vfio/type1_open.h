// The way from a PCI address to a VFIO container with nesting enabled.
#pragma once

#include "absl/status/statusor.h"
#include "agent/core/host_state.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/vfio_file.h"

namespace nestor::agent {

// A container that holds one group, whose only function is the device asked for. Closing
// both ends it; the group goes first.
struct NestingGroup {
  VfioFile container;
  VfioFile group;
  DeviceCapabilities capabilities;
};

// Opens and asks in the order in which a wrong host shows: the function, its driver, VFIO,
// the group, the kernel's nesting, the hardware's. The first answer that rules the device
// out ends it, everything is closed, and the status has a reason of
// agent/vfio/type1_backend.h and a message with the fix: FAILED_PRECONDITION where the
// device cannot nest on this host as it is, another code where asking was impossible.
//
// The numbers of the nesting calls mean other things to other kernels, so none is made
// before the kernel has shown a valid nesting capability.
absl::StatusOr<NestingGroup> OpenNestingGroup(kernel::Syscalls& syscalls, const Bdf& device);

}  // namespace nestor::agent
