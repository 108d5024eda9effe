#include "agent/check/host_probe.h"

#include <fcntl.h>

#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "agent/check/kernel_config.h"
#include "agent/kernel/uapi/iommu_nesting.h"
#include "agent/kernel/uapi/vtd_registers.h"
#include "agent/kernel/unique_fd.h"
#include "agent/reconcile/inventory_message.h"
#include "agent/vfio/memory_lock.h"
#include "agent/vfio/pci_inventory.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

namespace uapi = kernel::uapi;

constexpr absl::string_view kIommuClass = "/sys/class/iommu";
// Kernel configurations have a few hundred KiB.
constexpr size_t kMaxConfig = 8 << 20;
// Base class of all bridges.
constexpr uint32_t kBridgeBaseClass = 0x06;

// Empty where it cannot be read.
std::string ReadText(kernel::Syscalls& syscalls, const std::string& path) {
  std::string text;
  if (syscalls.ReadFile(path, &text) < 0) return "";
  return std::string(absl::StripAsciiWhitespace(text));
}

// A file of any size, which ReadFile does not promise; empty where it cannot be read.
std::string ReadLarge(kernel::Syscalls& syscalls, const std::string& path) {
  const kernel::UniqueFd fd(syscalls, syscalls.Open(path, O_RDONLY));
  if (fd.get() < 0) return "";
  std::string text;
  std::string chunk(64 * 1024, '\0');
  while (text.size() < kMaxConfig) {
    const ssize_t size = syscalls.Pread(fd.get(), chunk.data(), chunk.size(), text.size());
    if (size <= 0) break;
    text.append(chunk, 0, static_cast<size_t>(size));
  }
  return text;
}

void ReadKernelOptions(kernel::Syscalls& syscalls, absl::string_view backend,
                       v1::KernelFacts* kernel) {
  std::vector<v1::KernelOption> options = NeededKernelOptions(backend);
  const std::string boot_config = absl::StrCat("/boot/config-", kernel->release());
  if (const auto config = Gunzip(ReadLarge(syscalls, "/proc/config.gz")); config.ok()) {
    kernel->set_config_path("/proc/config.gz");
    options = ParseKernelConfig(*config, backend);
  } else if (const std::string text = ReadLarge(syscalls, boot_config); !text.empty()) {
    kernel->set_config_path(boot_config);
    options = ParseKernelConfig(text, backend);
  }
  for (v1::KernelOption& option : options) *kernel->add_options() = std::move(option);
}

v1::KernelFacts ReadKernel(kernel::Syscalls& syscalls, absl::string_view backend) {
  v1::KernelFacts kernel;
  kernel.set_release(ReadText(syscalls, "/proc/sys/kernel/osrelease"));
  const std::string command_line = ReadText(syscalls, "/proc/cmdline");
  for (absl::string_view word : absl::StrSplit(command_line, ' ', absl::SkipEmpty())) {
    if (absl::StrContains(word, "iommu")) kernel.add_iommu_parameters(std::string(word));
  }
  ReadKernelOptions(syscalls, backend, &kernel);
  return kernel;
}

v1::IommuUnit ReadIommu(kernel::Syscalls& syscalls, const std::string& name) {
  v1::IommuUnit unit;
  unit.set_name(name);
  // Of all drivers of IOMMUs, VT-d's names its units so.
  unit.set_vtd(absl::StartsWith(name, "dmar"));
  uint64_t ecap = 0;
  const std::string path = absl::StrCat(kIommuClass, "/", name, "/intel-iommu/ecap");
  if (!absl::SimpleHexAtoi(ReadText(syscalls, path), &ecap)) return unit;
  unit.set_scalable_mode((ecap & uapi::VTD_ECAP_SMTS) != 0);
  unit.set_nested_translation((ecap & uapi::VTD_ECAP_NEST) != 0);
  const uint64_t pasid_size = ecap >> uapi::VTD_ECAP_PSS_SHIFT & uapi::VTD_ECAP_PSS_MASK;
  const bool has_pasids = (ecap & uapi::VTD_ECAP_PASID) != 0;
  unit.set_pasid_bits(has_pasids ? static_cast<uint32_t>(pasid_size + 1) : 0);
  return unit;
}

v1::MemoryLockLimit ReadMemoryLock(kernel::Syscalls& syscalls, uint64_t needed) {
  const MemoryLockLimit found = ReadMemoryLockLimit(syscalls);
  v1::MemoryLockLimit limit;
  limit.set_needed_bytes(needed);
  limit.set_unlimited(found.unlimited);
  limit.set_bytes(found.bytes.value_or(0));
  return limit;
}

std::vector<v1::GroupSibling> ReadSiblings(kernel::Syscalls& syscalls,
                                           const PciFunction& function) {
  std::vector<v1::GroupSibling> siblings;
  for (const Bdf& bdf : function.group_siblings) {
    v1::GroupSibling& sibling = siblings.emplace_back();
    sibling.set_device(bdf);
    if (const auto found = ReadPciFunction(syscalls, bdf); found.ok()) {
      sibling.set_driver(found->driver);
    }
  }
  return siblings;
}

std::string ReadIommuOf(kernel::Syscalls& syscalls, const Bdf& bdf) {
  std::string target;
  if (syscalls.Readlink(absl::StrCat("/sys/bus/pci/devices/", bdf, "/iommu"), &target) < 0) {
    return "";
  }
  return target.substr(target.find_last_of('/') + 1);
}

bool IsSelected(const PciFunction& function, const DeviceSelection& selection) {
  if (function.class_code >> 16 == kBridgeBaseClass) return false;
  return selection.all || function.driver == kVfioPciDriver || function.pasid_bits.value_or(0) > 0;
}

absl::StatusOr<std::vector<PciFunction>> SelectFunctions(kernel::Syscalls& syscalls,
                                                         const DeviceSelection& selection) {
  std::vector<PciFunction> functions;
  for (const Bdf& bdf : selection.devices) {
    ASSIGN_OR_RETURN(PciFunction function, ReadPciFunction(syscalls, bdf));
    functions.push_back(std::move(function));
  }
  if (!selection.devices.empty()) return functions;
  ASSIGN_OR_RETURN(functions, ListPciFunctions(syscalls, PciFilter::kAll));
  std::erase_if(functions,
                [&](const PciFunction& function) { return !IsSelected(function, selection); });
  return functions;
}

}  // namespace

v1::HostCheck ReadHostFacts(kernel::Syscalls& syscalls, absl::string_view backend,
                            uint64_t needed_memory) {
  v1::HostCheck host;
  host.set_iommu_interface(ToIommuInterface(backend));
  *host.mutable_kernel() = ReadKernel(syscalls, backend);
  std::vector<std::string> units;
  // Without any IOMMU driver there is no such class.
  if (syscalls.Readdir(std::string(kIommuClass), &units) < 0) units.clear();
  for (const std::string& unit : units) *host.add_iommus() = ReadIommu(syscalls, unit);
  *host.mutable_memory_lock() = ReadMemoryLock(syscalls, needed_memory);
  return host;
}

absl::StatusOr<std::vector<ProbedDevice>> ProbeDevices(kernel::Syscalls& syscalls,
                                                       IommuBackend& backend,
                                                       const DeviceSelection& selection) {
  ASSIGN_OR_RETURN(std::vector<PciFunction> functions, SelectFunctions(syscalls, selection));
  std::vector<ProbedDevice> devices;
  for (PciFunction& function : functions) {
    ProbedDevice& device = devices.emplace_back();
    device.backend = std::string(backend.name());
    device.iommu = ReadIommuOf(syscalls, function.bdf);
    device.siblings = ReadSiblings(syscalls, function);
    device.facts = ProbeFunction(backend, std::move(function));
  }
  return devices;
}

}  // namespace nestor::agent
