// What sysfs says about PCI functions, and what a host's agent reports of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "agent/core/host_state.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/iommu_backend.h"

namespace nestor::agent {

// The driver that hands a function to VFIO.
inline constexpr absl::string_view kVfioPciDriver = "vfio-pci";

// A PCI function as /sys/bus/pci/devices/{bdf} shows it.
struct PciFunction {
  Bdf bdf;
  uint16_t vendor_id = 0;
  uint16_t device_id = 0;
  uint32_t class_code = 0;          // base class, subclass, interface: 0x108802
  std::string driver;               // empty: none
  int iommu_group = -1;             // -1: none, the function is behind no active IOMMU
  std::vector<Bdf> group_siblings;  // the group's other functions but bridges, by address
  int numa_node = -1;               // -1: unknown
  // Width of its own PASID capability, 0: none. Unset: not shown, e.g. to others than root.
  std::optional<uint32_t> pasid_bits;
  Bdf physical_function = {};  // of an SR-IOV virtual function; empty: it is none
  int virtual_functions = 0;   // that it has enabled
  bool operator==(const PciFunction&) const = default;
};

// PCI-to-PCI bridges.
bool IsBridge(const PciFunction& function);

// Which functions to list.
enum class PciFilter {
  kVfio,  // those bound to vfio-pci
  kAll,
};

// A function and what probing it found.
struct DeviceFacts {
  PciFunction function;
  DeviceCapabilities capabilities;
  bool operator==(const DeviceFacts&) const = default;
};

// Reads one function. NOT_FOUND NO_DEVICE: sysfs does not know it. INTERNAL: an attribute
// is not a number. Other errors are the kernel's.
absl::StatusOr<PciFunction> ReadPciFunction(kernel::Syscalls& syscalls, const Bdf& bdf);

// Reads all that pass the filter, in order of address. A function that disappears meanwhile
// is left out.
absl::StatusOr<std::vector<PciFunction>> ListPciFunctions(kernel::Syscalls& syscalls,
                                                          PciFilter filter);

// What probing finds about `function`; where it could not be probed, the reason why.
DeviceFacts ProbeFunction(IommuBackend& backend, PciFunction function);

// The functions bound to vfio-pci with their capabilities. One that could not be probed is
// listed with the reason why (e.g. GROUP_BUSY), so that a host's report is always whole.
absl::StatusOr<std::vector<DeviceFacts>> BuildInventory(kernel::Syscalls& syscalls,
                                                        IommuBackend& backend);

// The name of this life of the kernel, a UUID.
absl::StatusOr<std::string> BootId(kernel::Syscalls& syscalls);

}  // namespace nestor::agent
