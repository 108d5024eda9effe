#include "agent/kernel/sim_sysfs.h"

#include <cerrno>
#include <deque>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "agent/kernel/sim_system.h"

namespace nestor::kernel {
namespace {

// The kernel's limit, MAXSYMLINKS.
constexpr int kMaxLinks = 40;

// Of the numbers that Linux gives out as they are asked for.
constexpr int kVfioDeviceMajor = 511;

constexpr char kDevices[] = "/sys/devices/pci0000:00";
constexpr char kPciBus[] = "/sys/bus/pci";

// Where an IOMMU's driver shows it.
const char* IommuPath(SimIommuHardware hardware) {
  switch (hardware) {
    case SimIommuHardware::kSmmuV3:
      return "/sys/devices/platform/arm-smmu-v3.0.auto/iommu/smmu3.0x0000000009050000";
    case SimIommuHardware::kAmd:
      return "/sys/devices/pci0000:00/0000:00:00.2/iommu/ivhd0";
    case SimIommuHardware::kVtd:
      break;
  }
  return "/sys/devices/virtual/iommu/dmar0";
}

std::string ParentOf(const std::string& name) { return name.substr(0, name.rfind('/')); }
std::string LastOf(const std::string& name) { return name.substr(name.rfind('/') + 1); }

std::deque<std::string> Components(absl::string_view path) {
  return absl::StrSplit(path, '/', absl::SkipEmpty());
}

// How a link in the directory `from` names `to`, both absolute.
std::string RelativePath(const std::string& from, const std::string& to) {
  std::deque<std::string> source = Components(from);
  std::deque<std::string> target = Components(to);
  while (!source.empty() && !target.empty() && source.front() == target.front()) {
    source.pop_front();
    target.pop_front();
  }
  std::string path;
  for (size_t i = 0; i < source.size(); ++i) absl::StrAppend(&path, "../");
  for (const std::string& component : target) absl::StrAppend(&path, component, "/");
  path.pop_back();
  return path;
}

bool IsWriteOnly(const std::string& name) {
  const std::string last = LastOf(name);
  return last == "bind" || last == "unbind" || last == "drivers_probe" || last == "reset" ||
         last == "remove" || last == "rescan";
}

const char* ReleaseOf(SimPersonality personality) {
  switch (personality) {
    case SimPersonality::kSeriesV6:
      return "5.8.0-rc6";
    case SimPersonality::kLinux6_12:
      return "6.12.107";
    case SimPersonality::kLinux7_2:
      return "7.2.0";
  }
  return "";
}

// The file that the kernel was built from, as far as it matters here.
std::string ConfigOf(const SimMachine& machine) {
  const bool has_pasids =
      machine.personality == SimPersonality::kSeriesV6 && machine.iommu.vfio_pasid;
  return absl::StrCat(
      "CONFIG_PCI_PASID=y\nCONFIG_INTEL_IOMMU=y\nCONFIG_INTEL_IOMMU_SVM=y\nCONFIG_VFIO=m\n"
      "CONFIG_VFIO_IOMMU_TYPE1=m\nCONFIG_VFIO_PCI=m\n",
      has_pasids ? "CONFIG_VFIO_PASID=m\n" : "# CONFIG_VFIO_PASID is not set\n");
}

}  // namespace

void SimSysfs::Build() {
  nodes_.clear();
  nodes_[""];
  for (size_t device = 0; device < system_.machine.devices.size(); ++device) {
    if (system_.hotplug.IsPresent(static_cast<int>(device))) BuildDevice(static_cast<int>(device));
  }
  BuildDrivers();
  BuildIommu();
  BuildKernel();
  BuildVfioNodes();
}

void SimSysfs::AddDirectories(const std::string& path) {
  if (path.empty() || nodes_.contains(path)) return;
  AddDirectories(ParentOf(path));
  nodes_[path];
}

void SimSysfs::AddText(const std::string& path, const std::string& text) {
  AddDirectories(ParentOf(path));
  nodes_[path] = {Kind::kText, text};
}

void SimSysfs::AddLink(const std::string& path, const std::string& target) {
  AddDirectories(ParentOf(path));
  nodes_[path] = {Kind::kLink, RelativePath(ParentOf(path), target)};
}

void SimSysfs::AddDeviceNode(const std::string& path) {
  AddDirectories(ParentOf(path));
  nodes_[path] = {Kind::kDeviceNode, ""};
}

std::string SimSysfs::PathOf(int device) const {
  const SimDeviceDescription& description = system_.machine.devices[device];
  return absl::StrCat(description.pci ? kDevices : "/sys/devices/platform", "/", description.bdf);
}

void SimSysfs::BuildDevice(int device) {
  const SimDeviceDescription& description = system_.machine.devices[device];
  const std::string path = PathOf(device);
  const std::string group = absl::StrCat("/sys/kernel/iommu_groups/", description.iommu_group);
  if (system_.machine.iommu.enabled) {
    AddLink(path + "/iommu_group", group);
    const std::string iommu = IommuPath(system_.machine.iommu.hardware);
    AddLink(path + "/iommu", iommu);
    AddLink(absl::StrCat(group, "/devices/", description.bdf), path);
    AddLink(absl::StrCat(iommu, "/devices/", description.bdf), path);
  }
  if (!description.pci) return;
  BuildFunction(device, path);
  BuildVirtualFunctions(device, path);
}

void SimSysfs::BuildFunction(int device, const std::string& path) {
  const SimDeviceDescription& description = system_.machine.devices[device];
  AddText(path + "/vendor", absl::StrFormat("0x%04x\n", description.vendor_id));
  AddText(path + "/device", absl::StrFormat("0x%04x\n", description.device_id));
  AddText(path + "/class", absl::StrFormat("0x%06x\n", description.class_code));
  AddText(path + "/revision", "0x01\n");
  AddText(path + "/config", "");  // read from the device, see Read
  AddText(path + "/numa_node", absl::StrCat(description.numa_node, "\n"));
  AddText(path + "/remove", "");
  if (description.has_reset) {
    AddText(path + "/reset", "");
    AddText(path + "/reset_method", "flr\n");
  }
  const std::string& override = system_.drivers.OverrideOf(device);
  AddText(path + "/driver_override", override.empty() ? "(null)\n" : override + "\n");
  AddLink(absl::StrCat(kPciBus, "/devices/", description.bdf), path);
  const std::string& driver = system_.drivers.DriverOf(device);
  // A driver that waits for its user to let go of the device has lost its link already.
  if (driver.empty() || system_.hotplug.IsLeaving(device)) return;
  const std::string driver_path = absl::StrCat(kPciBus, "/drivers/", driver);
  AddLink(path + "/driver", driver_path);
  AddLink(absl::StrCat(driver_path, "/", description.bdf), path);
}

void SimSysfs::BuildVirtualFunctions(int device, const std::string& path) {
  const auto& devices = system_.machine.devices;
  if (const int total = system_.hotplug.TotalVirtualFunctions(device); total > 0) {
    AddText(path + "/sriov_totalvfs", absl::StrCat(total, "\n"));
    AddText(path + "/sriov_numvfs", absl::StrCat(system_.hotplug.VirtualFunctions(device), "\n"));
  }
  int number = 0;
  for (size_t function = 0; function < devices.size(); ++function) {
    if (devices[function].physical_function != devices[device].bdf) continue;
    const int index = static_cast<int>(function);
    if (!system_.hotplug.IsPresent(index)) continue;
    AddLink(absl::StrCat(path, "/virtfn", number++), PathOf(index));
    AddLink(PathOf(index) + "/physfn", path);
  }
}

void SimSysfs::BuildDrivers() {
  AddDirectories(absl::StrCat(kPciBus, "/devices"));
  AddText(absl::StrCat(kPciBus, "/drivers_probe"), "");
  AddText(absl::StrCat(kPciBus, "/rescan"), "");
  for (const std::string& driver : system_.drivers.names()) {
    const std::string path = absl::StrCat(kPciBus, "/drivers/", driver);
    AddText(path + "/bind", "");
    AddText(path + "/unbind", "");
  }
}

void SimSysfs::BuildIommu() {
  const SimIommuProperties& iommu = system_.machine.iommu;
  AddDirectories("/sys/class/iommu");
  AddDirectories("/sys/kernel/iommu_groups");
  if (!iommu.enabled) return;
  const std::string path = IommuPath(iommu.hardware);
  AddDirectories(path);
  AddLink("/sys/class/iommu/" + LastOf(path), path);
  if (iommu.hardware != SimIommuHardware::kVtd) return;
  // As sysfs writes registers: hexadecimal without a prefix.
  AddText(path + "/intel-iommu/cap", absl::StrFormat("%x\n", VtdWholeCapabilityRegister(iommu)));
  AddText(path + "/intel-iommu/ecap",
          absl::StrFormat("%x\n", VtdWholeExtendedCapabilityRegister(iommu)));
}

void SimSysfs::BuildKernel() {
  const SimMachine& machine = system_.machine;
  AddText("/proc/cpuinfo",
          absl::StrCat("flags\t\t: fpu", machine.iommu.cpu_5_levels ? " la57" : "", "\n"));
  AddText("/proc/sys/kernel/random/boot_id", machine.boot_id + "\n");
  AddText("/proc/sys/kernel/osrelease", absl::StrCat(ReleaseOf(machine.personality), "\n"));
  AddText("/proc/cmdline", machine.command_line + "\n");
  AddText(absl::StrCat("/boot/config-", ReleaseOf(machine.personality)), ConfigOf(machine));
  const std::string limit =
      machine.memory_lock_limit ? absl::StrCat(*machine.memory_lock_limit) : "unlimited";
  AddText("/proc/self/limits",
          absl::StrFormat("%-26s%-21s%-21s%-10s\n", "Max locked memory", limit, limit, "bytes"));
  AddText("/proc/self/status", "CapEff:\t0000000000000000\n");
  AddDirectories("/sys/module/vfio");
  AddDirectories("/sys/module/vfio_pci");
  AddText("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit",
          absl::StrCat(machine.iommu.dma_entry_limit, "\n"));
  if (machine.personality == SimPersonality::kSeriesV6 && machine.iommu.vfio_pasid) {
    AddText("/sys/module/vfio_pasid/parameters/pasid_quota",
            absl::StrCat(machine.iommu.pasid_quota, "\n"));
  }
}

void SimSysfs::BuildVfioNodes() {
  AddDeviceNode("/dev/vfio/vfio");
  if (HasIommufd(system_.machine.personality)) BuildIommufdNodes();
  for (const auto& [number, group] : system_.groups) {
    if (group->HasVfioDevice()) AddDeviceNode(absl::StrCat("/dev/vfio/", number));
  }
}

void SimSysfs::BuildIommufdNodes() {
  AddDeviceNode("/dev/iommu");
  AddDirectories("/dev/vfio/devices");
  AddDirectories("/sys/class/vfio-dev");
  const auto& devices = system_.machine.devices;
  for (size_t device = 0; device < devices.size(); ++device) {
    const bool is_vfio = system_.drivers.DriverOf(static_cast<int>(device)) == "vfio-pci";
    if (!is_vfio || !devices[device].pci || !system_.machine.iommu.enabled) continue;
    const std::string name = absl::StrCat("vfio", device);
    const std::string path = absl::StrCat(kDevices, "/", devices[device].bdf, "/vfio-dev/", name);
    AddText(path + "/dev", absl::StrCat(kVfioDeviceMajor, ":", device, "\n"));
    AddLink(absl::StrCat("/sys/class/vfio-dev/", name), path);
    AddDeviceNode(absl::StrCat("/dev/vfio/devices/", name));
  }
}

int SimSysfs::Walk(const std::string& path, bool follow_last, std::string* name) const {
  if (!absl::StartsWith(path, "/")) return -ENOENT;
  std::deque<std::string> left = Components(path);
  name->clear();
  for (int links = 0; !left.empty();) {
    if (nodes_.at(*name).kind != Kind::kDirectory) return -ENOTDIR;
    const std::string component = left.front();
    left.pop_front();
    if (component == "..") *name = ParentOf(*name);
    if (component == "." || component == "..") continue;
    const std::string next = absl::StrCat(*name, "/", component);
    const auto node = nodes_.find(next);
    if (node == nodes_.end()) return -ENOENT;
    if (node->second.kind == Kind::kLink && (follow_last || !left.empty())) {
      if (++links > kMaxLinks) return -ELOOP;
      const std::deque<std::string> target = Components(node->second.text);
      left.insert(left.begin(), target.begin(), target.end());
    } else {
      *name = next;
    }
  }
  return 0;
}

int SimSysfs::Resolve(const std::string& path, std::string* name, Kind* kind) const {
  const int result = Walk(path, /*follow_last=*/true, name);
  if (result == 0) *kind = nodes_.at(*name).kind;
  return result;
}

int SimSysfs::Readlink(const std::string& path, std::string* target) const {
  std::string name;
  if (const int result = Walk(path, /*follow_last=*/false, &name); result != 0) return result;
  const Node& node = nodes_.at(name);
  if (node.kind != Kind::kLink) return -EINVAL;
  *target = node.text;
  return 0;
}

int SimSysfs::Readdir(const std::string& path, std::vector<std::string>* names) const {
  std::string name;
  if (const int result = Walk(path, /*follow_last=*/true, &name); result != 0) return result;
  if (nodes_.at(name).kind != Kind::kDirectory) return -ENOTDIR;
  names->clear();
  const std::string prefix = name + "/";
  for (auto node = nodes_.lower_bound(prefix);
       node != nodes_.end() && absl::StartsWith(node->first, prefix); ++node) {
    if (ParentOf(node->first) == name) names->push_back(LastOf(node->first));
  }
  return 0;
}

int SimSysfs::Read(const std::string& name, std::string* content) const {
  if (IsWriteOnly(name)) return -EACCES;
  if (LastOf(name) == "config") {
    content->resize(SimDevice::kConfigSize);
    const int device = FindDevice(LastOf(ParentOf(name)));
    system_.devices[device]->ReadConfig(0, content->data(), content->size());
    return 0;
  }
  *content = nodes_.at(name).text;
  return 0;
}

int SimSysfs::FindDevice(const std::string& bdf) const {
  const auto& devices = system_.machine.devices;
  for (size_t device = 0; device < devices.size(); ++device) {
    const int index = static_cast<int>(device);
    const bool is_shown = devices[device].pci && system_.hotplug.IsPresent(index);
    if (is_shown && devices[device].bdf == bdf) return index;
  }
  return -1;
}

int SimSysfs::Write(const std::string& name, const std::string& content) {
  const std::string value(absl::StripAsciiWhitespace(content));
  const std::string parent = ParentOf(name);
  int result = -EACCES;
  if (content.empty()) return 0;  // never reaches an attribute
  if (name == absl::StrCat(kPciBus, "/rescan")) {
    result = value == "1" ? 0 : -EINVAL;
    if (result == 0) system_.hotplug.Rescan();
  } else if (ParentOf(parent) == kDevices) {
    result = WriteDeviceAttribute(FindDevice(LastOf(parent)), LastOf(name), value);
  } else if (absl::StartsWith(name, kPciBus)) {
    result = WriteDriverAttribute(LastOf(parent), LastOf(name), value);
  }
  Build();
  return result;
}

int SimSysfs::WriteDeviceAttribute(int device, const std::string& attribute,
                                   const std::string& value) {
  if (attribute == "driver_override") {
    system_.drivers.SetOverride(device, value);
    return 0;
  }
  if (attribute == "sriov_numvfs") {
    int count = 0;
    if (!absl::SimpleAtoi(value, &count)) return -EINVAL;
    return system_.hotplug.SetVirtualFunctions(device, count);
  }
  if (attribute == "remove") {
    if (value != "1") return value == "0" ? 0 : -EINVAL;
    system_.hotplug.Remove(device);
    return 0;
  }
  if (attribute != "reset") return -EACCES;
  if (value != "1") return -EINVAL;
  system_.devices[device]->Reset();
  return 0;
}

int SimSysfs::WriteDriverAttribute(const std::string& driver, const std::string& attribute,
                                   const std::string& bdf) {
  const int device = FindDevice(bdf);
  if (device < 0 || system_.hotplug.IsLeaving(device)) return -ENODEV;
  system_.hotplug.Announce();
  if (attribute == "bind") return system_.drivers.Bind(device, driver);
  if (attribute == "unbind") {
    // The kernel would wait for the user to close the group; nothing here can wait.
    const int group = system_.machine.devices[device].iommu_group;
    if (system_.groups.at(group)->in_use()) return -EBUSY;
    return system_.drivers.Unbind(device, driver);
  }
  if (attribute != "drivers_probe") return -EACCES;
  system_.drivers.Probe(device);
  return 0;
}

}  // namespace nestor::kernel
