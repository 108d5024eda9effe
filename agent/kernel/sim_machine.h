// The machine that a simulated kernel finds itself on, as a plain description.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/kernel/uapi/vfio_type1_nesting.h"

namespace nestor::kernel {

// Which kernel answers.
enum class SimPersonality {
  // The nesting series, v6, with the corrections that its review agreed on. It also refuses
  // PASID bounds of 2^31 and more, which v7 brought: the ioctl's result could not carry them.
  kSeriesV6,
  // Linux 6.12 (a late stable release): knows VFIO_TYPE1_NESTING_IOMMU, but VT-d cannot be set
  // to it. iommufd nests per device; it reports PASID widths, but attaches no PASID.
  kLinux6_12,
  // Linux 7.2: VFIO_TYPE1_NESTING_IOMMU is gone; iommufd nests, on VT-d per PASID.
  kLinux7_2,
};

// Whose IOMMU it is. A type1 container that nests and the walk of a first stage are VT-d's in
// any case; see docs/simulated-kernel.md.
enum class SimIommuHardware { kVtd, kSmmuV3, kAmd };

// The IOMMU and what its driver and VFIO are set to. The defaults are a VT-d with everything.
struct SimIommuProperties {
  bool enabled = true;  // else no device has a group, whatever its description says
  SimIommuHardware hardware = SimIommuHardware::kVtd;
  bool nesting = true;              // hardware: scalable mode with nested translation
  bool interrupt_remapping = true;  // else VFIO takes no device
  bool vfio_pasid = true;           // kernel built with CONFIG_VFIO_PASID
  uint32_t address_width = 48;      // of stage 2, bits
  uint32_t pasid_bits = 20;
  uint32_t pasid_quota = 1000;         // per process: vfio_pasid's parameter
  uint32_t pasid_capacity = 1u << 20;  // of the system
  uint32_t dma_entry_limit = 65535;    // mappings per container: vfio_iommu_type1's parameter
  // What the driver says of nesting: a format of uapi::IOMMU_PASID_FORMAT_* (NONE is what the
  // SMMU drivers of the series say) and a mask of uapi::IOMMU_NESTING_FEAT_*.
  uint32_t nesting_format = uapi::IOMMU_PASID_FORMAT_INTEL_VTD;
  uint32_t nesting_features = uapi::IOMMU_NESTING_FEAT_SYSWIDE_PASID |
                              uapi::IOMMU_NESTING_FEAT_BIND_PGTBL |
                              uapi::IOMMU_NESTING_FEAT_CACHE_INVLD;
  bool first_level_1gib_pages = true;  // CAP.FL1GP
  bool first_level_5_levels = true;    // CAP.FL5LP
  bool cpu_5_levels = true;            // the host's CPUs have LA57
  bool supervisor_requests = true;     // ECAP.SRS
  bool extended_accessed_flag = true;  // ECAP.EAFS
};

// Whether the kernel has iommufd and VFIO device files.
inline bool HasIommufd(SimPersonality personality) {
  return personality != SimPersonality::kSeriesV6;
}

// VT-d's capability registers, of the bits that matter to nesting (uapi::VTD_CAP_* and
// VTD_ECAP_*).
uint64_t VtdCapabilityRegister(const SimIommuProperties& iommu);
uint64_t VtdExtendedCapabilityRegister(const SimIommuProperties& iommu);

// The same as the hardware has them, with every bit that a driver of nested translation looks
// at (Intel VT-d specification, 11.4.2 and 11.4.3).
uint64_t VtdWholeCapabilityRegister(const SimIommuProperties& iommu);
uint64_t VtdWholeExtendedCapabilityRegister(const SimIommuProperties& iommu);

// A device behind that IOMMU: the DMA engine of agent/kernel/sim_device.h.
struct SimDeviceDescription {
  std::string bdf;  // "0000:01:00.0"
  uint16_t vendor_id = 0x1234;
  uint16_t device_id = 0x6e73;
  uint32_t class_code = 0x088000;  // system peripheral, other
  int iommu_group = 0;
  std::string driver = "vfio-pci";  // empty: none
  int numa_node = -1;
  uint32_t pasid_bits = 20;  // of its PASID capability; 0: it has none
  // False: an ACPI namespace device, which is only seen as a member of its group.
  bool pci = true;
  bool has_reset = true;  // a reset of its own
  // Of an SR-IOV virtual function: the address of the physical one, in whose sriov_numvfs they
  // count in order of this description. Empty: it is none.
  std::string physical_function = {};
};

struct SimMachine {
  SimPersonality personality = SimPersonality::kSeriesV6;
  SimIommuProperties iommu;
  std::vector<SimDeviceDescription> devices;
  std::string boot_id;  // a UUID; empty: a new one for each kernel
  std::string command_line = "quiet intel_iommu=on,sm_on";
  // RLIMIT_MEMLOCK of its processes in bytes, unset: unlimited. It is shown, not enforced.
  std::optional<uint64_t> memory_lock_limit;
};

// `devices` PCI devices, 0000:01:00.0, 0000:02:00.0 and so on (at most 255), each alone in its
// IOMMU group (1, 2, ...), bound to vfio-pci and with 20-bit PASIDs.
SimMachine DefaultSimMachine(int devices);

}  // namespace nestor::kernel
