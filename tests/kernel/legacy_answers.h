// What a kernel answers to the calls of VFIO with groups and containers, as text that can be
// compared between a real kernel and the simulated one.
#pragma once

#include <string>
#include <vector>

#include "agent/core/host_state.h"
#include "agent/kernel/syscalls.h"

namespace nestor::kernel_test {

// "VFIO_SET_IOMMU(NESTING): EINVAL", in the order asked. `device` must be alone in
// `group`, bound to vfio-pci, and used by nobody.
std::vector<std::string> AskLegacyVfio(kernel::Syscalls& syscalls, const agent::Bdf& device,
                                       int group);

}  // namespace nestor::kernel_test
