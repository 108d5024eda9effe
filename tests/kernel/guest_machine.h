// The devices that boot.sh puts into the machine, as the tests inside find them.
#pragma once

#include <vector>

#include "agent/core/host_state.h"
#include "agent/kernel/linux_syscalls.h"
#include "agent/vfio/pci_inventory.h"

namespace nestor::kernel_test {

// The kernel that the test runs on.
kernel::LinuxSyscalls& Linux();

// The edu devices by address; empty: none is there, which a machine without PCI shows.
std::vector<agent::PciFunction> EduFunctions();

// The edu device that is alone in its IOMMU group. It must be there.
agent::PciFunction LoneEdu();

}  // namespace nestor::kernel_test
