#include "agent/vfio/pci_inventory.h"

#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"
#include "agent/vfio/pci_capability.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

constexpr absl::string_view kDevicesDirectory = "/sys/bus/pci/devices";
constexpr absl::string_view kGroupsDirectory = "/sys/kernel/iommu_groups";
constexpr absl::string_view kBootIdFile = "/proc/sys/kernel/random/boot_id";

// Base class and subclass of a PCI-to-PCI bridge. The kernel's drivers for these do no DMA
// of their own, so they do not count as neighbours in a group.
constexpr uint32_t kBridgeClass = 0x0604;

// Whether `bdf` can be a directory of kDevicesDirectory and leads nowhere else.
bool IsSafeName(absl::string_view bdf) {
  return !bdf.empty() && bdf.find_first_not_of("0123456789abcdef:.") == absl::string_view::npos &&
         bdf.find(':') != absl::string_view::npos;
}

std::string AttributePath(const Bdf& bdf, absl::string_view attribute) {
  return absl::StrCat(kDevicesDirectory, "/", bdf, "/", attribute);
}

absl::StatusOr<std::string> ReadAttribute(kernel::Syscalls& syscalls, const std::string& path) {
  std::string content;
  if (const int result = syscalls.ReadFile(path, &content); result < 0) {
    return KernelErrorStatus({"read", path, -result});
  }
  return std::string(absl::StripAsciiWhitespace(content));
}

absl::StatusOr<uint32_t> ReadHexAttribute(kernel::Syscalls& syscalls, const Bdf& bdf,
                                          absl::string_view attribute) {
  const std::string path = AttributePath(bdf, attribute);
  ASSIGN_OR_RETURN(const std::string text, ReadAttribute(syscalls, path));
  uint32_t value = 0;
  if (!absl::SimpleHexAtoi(text, &value)) {
    return absl::InternalError(absl::StrCat(path, " holds no hexadecimal number"));
  }
  return value;
}

// A kernel without NUMA shows no such attribute.
absl::StatusOr<int> ReadNumaNode(kernel::Syscalls& syscalls, const Bdf& bdf) {
  const std::string path = AttributePath(bdf, "numa_node");
  const absl::StatusOr<std::string> text = ReadAttribute(syscalls, path);
  if (absl::IsNotFound(text.status())) return -1;
  if (!text.ok()) return text.status();
  int node = -1;
  if (!absl::SimpleAtoi(*text, &node)) {
    return absl::InternalError(absl::StrCat(path, " holds no number"));
  }
  return node;
}

absl::StatusOr<std::optional<uint32_t>> ReadPasidBits(kernel::Syscalls& syscalls, const Bdf& bdf) {
  const std::string path = AttributePath(bdf, "config");
  std::string config;
  const int result = syscalls.ReadFile(path, &config);
  if (result == -ENOENT || result == -EACCES) return std::nullopt;
  if (result < 0) return KernelErrorStatus({"read", path, -result});
  return ParsePasidBits(config);
}

// Functions that cannot have virtual ones show no such attribute.
absl::StatusOr<int> ReadVirtualFunctions(kernel::Syscalls& syscalls, const Bdf& bdf) {
  const std::string path = AttributePath(bdf, "sriov_numvfs");
  const absl::StatusOr<std::string> text = ReadAttribute(syscalls, path);
  if (absl::IsNotFound(text.status())) return 0;
  if (!text.ok()) return text.status();
  int count = 0;
  if (!absl::SimpleAtoi(*text, &count)) {
    return absl::InternalError(absl::StrCat(path, " holds no number"));
  }
  return count;
}

// The last component of a link's target; empty where there is no such link.
absl::StatusOr<std::string> ReadLinkName(kernel::Syscalls& syscalls, const std::string& path) {
  std::string target;
  const int result = syscalls.Readlink(path, &target);
  if (result == -ENOENT) return std::string();
  if (result < 0) return KernelErrorStatus({"readlink", path, -result});
  return target.substr(target.find_last_of('/') + 1);
}

absl::StatusOr<int> ReadIommuGroup(kernel::Syscalls& syscalls, const Bdf& bdf) {
  const std::string path = AttributePath(bdf, "iommu_group");
  ASSIGN_OR_RETURN(const std::string name, ReadLinkName(syscalls, path));
  int group = -1;
  if (!name.empty() && !absl::SimpleAtoi(name, &group)) {
    return absl::InternalError(absl::StrCat(path, " leads to no group number"));
  }
  return group;
}

absl::StatusOr<std::vector<std::string>> ListDirectory(kernel::Syscalls& syscalls,
                                                       const std::string& path) {
  std::vector<std::string> names;
  if (const int result = syscalls.Readdir(path, &names); result < 0) {
    return KernelErrorStatus({"readdir", path, -result});
  }
  return names;
}

absl::StatusOr<std::vector<Bdf>> ReadGroupSiblings(kernel::Syscalls& syscalls, const Bdf& bdf,
                                                   int group) {
  ASSIGN_OR_RETURN(const std::vector<std::string> members,
                   ListDirectory(syscalls, absl::StrCat(kGroupsDirectory, "/", group, "/devices")));
  std::vector<Bdf> siblings;
  for (const Bdf& member : members) {
    if (member == bdf) continue;
    const absl::StatusOr<uint32_t> class_code = ReadHexAttribute(syscalls, member, "class");
    // What is no PCI function or cannot be read counts: better one neighbour too many.
    if (class_code.ok() && *class_code >> 8 == kBridgeClass) continue;
    siblings.push_back(member);
  }
  return siblings;
}

absl::Status NoDevice(const Bdf& bdf) {
  return WithReason(
      absl::NotFoundError(absl::StrCat(
          "there is no PCI function ", bdf,
          " on this host: compare with `lspci -D`; a hot-unplugged one must be plugged in again")),
      "NO_DEVICE");
}

DeviceCapabilities Unusable(const absl::Status& status) {
  DeviceCapabilities capabilities;
  capabilities.reason = GetReason(status);
  if (capabilities.reason.empty()) capabilities.reason = "PROBE_FAILED";
  capabilities.message = std::string(status.message());
  return capabilities;
}

}  // namespace

bool IsBridge(const PciFunction& function) { return function.class_code >> 8 == kBridgeClass; }

absl::StatusOr<PciFunction> ReadPciFunction(kernel::Syscalls& syscalls, const Bdf& bdf) {
  if (!IsSafeName(bdf)) return NoDevice(bdf);
  const absl::StatusOr<uint32_t> vendor = ReadHexAttribute(syscalls, bdf, "vendor");
  if (absl::IsNotFound(vendor.status())) return NoDevice(bdf);
  if (!vendor.ok()) return vendor.status();
  PciFunction function;
  function.bdf = bdf;
  function.vendor_id = static_cast<uint16_t>(*vendor);
  ASSIGN_OR_RETURN(const uint32_t device_id, ReadHexAttribute(syscalls, bdf, "device"));
  function.device_id = static_cast<uint16_t>(device_id);
  ASSIGN_OR_RETURN(function.class_code, ReadHexAttribute(syscalls, bdf, "class"));
  ASSIGN_OR_RETURN(function.driver, ReadLinkName(syscalls, AttributePath(bdf, "driver")));
  ASSIGN_OR_RETURN(function.numa_node, ReadNumaNode(syscalls, bdf));
  ASSIGN_OR_RETURN(function.iommu_group, ReadIommuGroup(syscalls, bdf));
  ASSIGN_OR_RETURN(function.pasid_bits, ReadPasidBits(syscalls, bdf));
  ASSIGN_OR_RETURN(function.physical_function,
                   ReadLinkName(syscalls, AttributePath(bdf, "physfn")));
  ASSIGN_OR_RETURN(function.virtual_functions, ReadVirtualFunctions(syscalls, bdf));
  if (function.iommu_group >= 0) {
    ASSIGN_OR_RETURN(function.group_siblings,
                     ReadGroupSiblings(syscalls, bdf, function.iommu_group));
  }
  return function;
}

absl::StatusOr<std::vector<PciFunction>> ListPciFunctions(kernel::Syscalls& syscalls,
                                                          PciFilter filter) {
  ASSIGN_OR_RETURN(const std::vector<Bdf> names,
                   ListDirectory(syscalls, std::string(kDevicesDirectory)));
  std::vector<PciFunction> functions;
  for (const Bdf& bdf : names) {
    absl::StatusOr<PciFunction> function = ReadPciFunction(syscalls, bdf);
    if (absl::IsNotFound(function.status())) continue;
    if (!function.ok()) return function.status();
    if (filter == PciFilter::kVfio && function->driver != kVfioPciDriver) continue;
    functions.push_back(*std::move(function));
  }
  return functions;
}

DeviceFacts ProbeFunction(IommuBackend& backend, PciFunction function) {
  const absl::StatusOr<DeviceCapabilities> capabilities = backend.Probe(function.bdf);
  return {std::move(function), capabilities.ok() ? *capabilities : Unusable(capabilities.status())};
}

absl::StatusOr<std::vector<DeviceFacts>> BuildInventory(kernel::Syscalls& syscalls,
                                                        IommuBackend& backend) {
  ASSIGN_OR_RETURN(std::vector<PciFunction> functions,
                   ListPciFunctions(syscalls, PciFilter::kVfio));
  std::vector<DeviceFacts> inventory;
  for (PciFunction& function : functions) {
    inventory.push_back(ProbeFunction(backend, std::move(function)));
  }
  return inventory;
}

absl::StatusOr<std::string> BootId(kernel::Syscalls& syscalls) {
  return ReadAttribute(syscalls, std::string(kBootIdFile));
}

}  // namespace nestor::agent
