#include "tests/kernel/guest_machine.h"

#include <cstdlib>
#include <iostream>

#include "tests/kernel/edu_device.h"

namespace nestor::kernel_test {

kernel::LinuxSyscalls& Linux() {
  static kernel::LinuxSyscalls syscalls;
  return syscalls;
}

std::vector<agent::PciFunction> EduFunctions() {
  const absl::StatusOr<std::vector<agent::PciFunction>> all =
      agent::ListPciFunctions(Linux(), agent::PciFilter::kAll);
  std::vector<agent::PciFunction> found;
  if (!all.ok()) return found;
  for (const agent::PciFunction& function : *all) {
    if (function.vendor_id == EduDevice::kVendor && function.device_id == EduDevice::kDevice) {
      found.push_back(function);
    }
  }
  return found;
}

agent::PciFunction LoneEdu() {
  for (const agent::PciFunction& function : EduFunctions()) {
    if (function.iommu_group >= 0 && function.group_siblings.empty()) return function;
  }
  std::cerr << "no edu device is alone in an IOMMU group\n";
  std::abort();
}

}  // namespace nestor::kernel_test
