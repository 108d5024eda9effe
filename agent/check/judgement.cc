#include "agent/check/judgement.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "agent/core/kernel_error.h"
#include "agent/reconcile/inventory_message.h"
#include "agent/vfio/memory_lock.h"
#include "agent/vfio/refusal.h"

namespace nestor::agent {
namespace {

// In the order in which one repairs a host.
constexpr std::array<absl::string_view, 14> kOrder = {
    "NO_DEVICE",
    "NO_IOMMU_GROUP",
    "DRIVER_NOT_VFIO",
    "NO_VFIO",
    "NO_IOMMUFD",
    "PERMISSION",
    "GROUP_NOT_VIABLE",
    "GROUP_SHARED",
    "GROUP_BUSY",
    "NESTING_UNSUPPORTED_KERNEL",
    "NESTING_UNSUPPORTED_HARDWARE",
    "PASID_UNSUPPORTED",
    "PASID_QUOTA",
    "MEMLOCK_LOW",
};

auto RankOf(const v1::Finding& finding) { return absl::c_find(kOrder, finding.reason()); }

bool ParametersHave(const v1::HostCheck& host, absl::string_view word) {
  return absl::c_any_of(host.kernel().iommu_parameters(), [&](const std::string& parameter) {
    return absl::StrContains(parameter, word);
  });
}

bool HasForeignIommu(const v1::HostCheck& host, const ProbedDevice& device) {
  return absl::c_any_of(host.iommus(), [&](const v1::IommuUnit& unit) {
    return unit.name() == device.iommu && !unit.vtd();
  });
}

// Debian's way to a kernel parameter. None where the parameters are there already, or the
// IOMMU is no VT-d: then the firmware has it switched off, or the hardware lacks it.
std::vector<std::string> EnableIommu(const v1::HostCheck& host, const ProbedDevice& device) {
  if (HasForeignIommu(host, device)) return {};
  if (ParametersHave(host, "sm_on")) return {};
  return {R"(sed -i 's/^GRUB_CMDLINE_LINUX="/&intel_iommu=on,sm_on /' /etc/default/grub)",
          "update-grub", "reboot"};
}

// Drivers that leave a function to VFIO or do no DMA, so that its group stays viable.
bool IsHarmless(absl::string_view driver) {
  return driver.empty() || driver == kVfioPciDriver || driver == "pci-stub";
}

std::vector<Bdf> HostDrivenSiblings(const ProbedDevice& device) {
  std::vector<Bdf> siblings;
  for (const v1::GroupSibling& sibling : device.siblings) {
    if (!IsHarmless(sibling.driver())) siblings.push_back(sibling.device());
  }
  return siblings;
}

std::vector<std::string> UnbindSiblings(const ProbedDevice& device) {
  std::vector<std::string> commands;
  for (const Bdf& sibling : HostDrivenSiblings(device)) {
    commands.push_back(
        absl::StrCat("echo ", sibling, " > /sys/bus/pci/devices/", sibling, "/driver/unbind"));
  }
  return commands;
}

std::vector<std::string> FixesOf(absl::string_view reason, const v1::HostCheck& host,
                                 const ProbedDevice& device) {
  const PciFunction& function = device.facts.function;
  const std::string group_node = absl::StrCat("/dev/vfio/", function.iommu_group);
  const bool is_iommufd = device.backend == "iommufd";
  if (reason == "NO_IOMMU_GROUP" || reason == "NESTING_UNSUPPORTED_HARDWARE") {
    return EnableIommu(host, device);
  }
  // What a device lacks itself, no parameter of the kernel gives it.
  if (reason == "PASID_UNSUPPORTED") {
    return CheckPasidWidth(function).ok() ? EnableIommu(host, device) : std::vector<std::string>();
  }
  if (reason == "DRIVER_NOT_VFIO") {
    return {absl::StrCat("driverctl set-override ", function.bdf, " vfio-pci")};
  }
  if (reason == "NO_VFIO") return {"modprobe vfio-pci"};
  if (reason == "NO_IOMMUFD") return {"modprobe iommufd", "modprobe vfio-pci"};
  if (reason == "PERMISSION" && is_iommufd) {
    return {"sudo setfacl -m u:$(id -un):rw /dev/iommu /dev/vfio/devices/*"};
  }
  if (reason == "PERMISSION") {
    return {absl::StrCat("sudo setfacl -m u:$(id -un):rw /dev/vfio/vfio ", group_node)};
  }
  if (reason == "GROUP_NOT_VIABLE") return UnbindSiblings(device);
  if (reason == "GROUP_BUSY") {
    return {absl::StrCat("fuser -v ", group_node, is_iommufd ? " /dev/vfio/devices/*" : "")};
  }
  if (reason == "PASID_QUOTA") {
    return {"modprobe -r vfio_pasid", "modprobe vfio_pasid pasid_quota=100"};
  }
  if (reason == "MEMLOCK_LOW") return {"ulimit -l unlimited"};
  if (reason == "PROBE_FAILED") return {"dmesg | tail -n 20"};
  return {};
}

// The findings of one device, one for each reason.
class Findings {
 public:
  Findings(const v1::HostCheck& host, const ProbedDevice& device) : host_(host), device_(device) {}

  void Add(absl::string_view reason, absl::string_view message) {
    for (const v1::Finding& finding : findings_) {
      if (finding.reason() == reason) return;
    }
    v1::Finding& finding = findings_.emplace_back();
    finding.set_reason(std::string(reason));
    finding.set_message(std::string(message));
    for (std::string& fix : FixesOf(reason, host_, device_)) finding.add_fixes(std::move(fix));
  }
  void Add(const absl::Status& refusal) {
    if (!refusal.ok()) Add(GetReason(refusal), refusal.message());
  }

  std::vector<v1::Finding> InOrder() && {
    std::stable_sort(findings_.begin(), findings_.end(),
                     [](const auto& a, const auto& b) { return RankOf(a) < RankOf(b); });
    return std::move(findings_);
  }

 private:
  const v1::HostCheck& host_;
  const ProbedDevice& device_;
  std::vector<v1::Finding> findings_;
};

absl::Status JudgeKernel(const v1::KernelFacts& kernel, absl::string_view backend) {
  std::vector<std::string> missing;
  for (const v1::KernelOption& option : kernel.options()) {
    if (option.value() == v1::KernelOption::VALUE_OFF) missing.push_back(option.name());
  }
  if (missing.empty()) return absl::OkStatus();
  const std::string what =
      absl::StrCat("Linux ", kernel.release(), " is built without ", absl::StrJoin(missing, ", "));
  return backend == "iommufd" ? IommufdNestingUnsupportedByKernel(what)
                              : NestingUnsupportedByKernel(what);
}

// Of units that are no VT-d, sysfs says nothing; with iommufd some of them nest.
absl::Status JudgeIommu(const v1::IommuUnit& unit, absl::string_view backend) {
  const bool is_iommufd = backend == "iommufd";
  auto* const refuse =
      is_iommufd ? IommufdNestingUnsupportedByHardware : NestingUnsupportedByHardware;
  if (!unit.vtd()) {
    if (is_iommufd) return absl::OkStatus();
    return refuse(absl::StrCat(unit.name(), " is no VT-d unit, the only kind that can nest here"));
  }
  if (unit.has_scalable_mode() && !unit.scalable_mode()) {
    return refuse(absl::StrCat(unit.name(), " has no scalable mode"));
  }
  if (unit.has_nested_translation() && !unit.nested_translation()) {
    return refuse(absl::StrCat(unit.name(), " has no nested translation"));
  }
  return absl::OkStatus();
}

// What the facts show behind the obstacle at which probing stopped.
void AddUnreached(const v1::HostCheck& host, const ProbedDevice& device, Findings* findings) {
  for (const absl::Status& refusal : RefusalsOf(device.facts.function, device.backend))
    findings->Add(refusal);
  if (const auto siblings = HostDrivenSiblings(device); !siblings.empty()) {
    findings->Add(GroupNotViable(device.facts.function, siblings));
  }
  findings->Add(JudgeKernel(host.kernel(), device.backend));
  for (const v1::IommuUnit& unit : host.iommus()) {
    if (unit.name() != device.iommu) continue;
    findings->Add(JudgeIommu(unit, device.backend));
    // With iommufd the device itself can still be bound.
    if (device.backend == "type1" && unit.has_pasid_bits() && unit.pasid_bits() == 0) {
      findings->Add(IommuWithoutPasids(device.facts.function.bdf));
    }
  }
}

absl::Status JudgeMemoryLock(const v1::MemoryLockLimit& limit) {
  MemoryLockLimit known{limit.unlimited(), std::nullopt};
  if (limit.bytes() > 0) known.bytes = limit.bytes();
  return CheckMemoryLock(known, limit.needed_bytes());
}

v1::DeviceCheck JudgeDevice(const v1::HostCheck& host, const ProbedDevice& device) {
  const DeviceCapabilities& found = device.facts.capabilities;
  Findings findings(host, device);
  if (!found.reason.empty()) {
    findings.Add(found.reason, found.message);
    AddUnreached(host, device, &findings);
  }
  findings.Add(JudgeMemoryLock(host.memory_lock()));

  v1::DeviceCheck check;
  check.set_device(device.facts.function.bdf);
  *check.mutable_status() = ToDeviceStatus(device.backend, device.facts);
  check.set_iommu(device.iommu);
  if (const auto bits = device.facts.function.pasid_bits) check.set_device_pasid_bits(*bits);
  for (const v1::GroupSibling& sibling : device.siblings) *check.add_siblings() = sibling;
  for (v1::Finding& finding : std::move(findings).InOrder()) {
    *check.add_findings() = std::move(finding);
  }
  check.set_ready(check.findings().empty());
  return check;
}

}  // namespace

v1::HostCheck Judge(const v1::HostCheck& host, const std::vector<ProbedDevice>& devices) {
  v1::HostCheck check = host;
  for (const ProbedDevice& device : devices) *check.add_devices() = JudgeDevice(host, device);
  return check;
}

}  // namespace nestor::agent
