// `nestor-agent check`: says of each device whether it can nest, and what to do if not.
#pragma once

#include <ostream>

#include "agent/check/host_probe.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/iommu_backend.h"

namespace nestor::agent {

struct CheckOptions {
  DeviceSelection selection;
  uint64_t guest_memory = uint64_t{1} << 30;  // bytes that the guests of this host will have
  bool json = false;
};

// Everything at once, without output. The errors are those of ProbeDevices.
absl::StatusOr<v1::HostCheck> CheckHost(kernel::Syscalls& syscalls, IommuBackend& backend,
                                        const CheckOptions& options);

// Prints it to `out`; an error, and nothing else, to `err`. The program's exit code: as
// HostCheckExitCode (api/support/host_check_text.h); 2: a device that was named is not there;
// 3: sysfs cannot be read.
int RunCheckCommand(kernel::Syscalls& syscalls, IommuBackend& backend, const CheckOptions& options,
                    std::ostream& out, std::ostream& err);

}  // namespace nestor::agent
