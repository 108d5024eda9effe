#include "api/support/resource_name.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace nestor {
namespace {

constexpr size_t kMaxIdLength = 63;

bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsHex(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f'); }

// [a-z0-9.-], beginning and ending with a letter or digit, no empty label.
bool IsHostId(absl::string_view id) {
  auto alphanumeric = [](char c) { return IsLower(c) || IsDigit(c); };
  return !id.empty() && id.size() <= kMaxIdLength && alphanumeric(id.front()) &&
         alphanumeric(id.back()) && id.find("..") == absl::string_view::npos &&
         std::all_of(id.begin(), id.end(),
                     [&](char c) { return alphanumeric(c) || c == '.' || c == '-'; });
}

absl::Status Malformed(absl::string_view name, absl::string_view form) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", Printable(name), "\" is not a name of the form ", form));
}

// Splits `name` into the ids between `collections`; fails unless it matches exactly. The ids
// lie in `name`.
template <size_t N>
absl::StatusOr<std::array<absl::string_view, N>> SplitName(
    absl::string_view name, const std::array<absl::string_view, N>& collections,
    absl::string_view form) {
  if (name.size() > kMaxResourceNameLength) return Malformed(name, form);
  const auto parts = SplitPath<2 * N>(name);
  if (!parts) return Malformed(name, form);
  std::array<absl::string_view, N> ids;
  for (size_t i = 0; i < N; ++i) {
    if ((*parts)[2 * i] != collections[i]) return Malformed(name, form);
    ids[i] = (*parts)[2 * i + 1];
  }
  return ids;
}

constexpr std::array<absl::string_view, 1> kHostCollections = {"hosts"};
constexpr std::array<absl::string_view, 2> kDeviceCollections = {"hosts", "devices"};
constexpr std::array<absl::string_view, 1> kProjectCollections = {"projects"};
constexpr std::array<absl::string_view, 2> kVirtualMachineCollections = {"projects",
                                                                         "virtualMachines"};
constexpr std::array<absl::string_view, 3> kPasidBindingCollections = {
    "projects", "virtualMachines", "pasidBindings"};

constexpr absl::string_view kHostForm =
    "hosts/{host}, with {host} of 1-63 characters [a-z0-9.-] beginning and ending with a letter "
    "or digit";
constexpr absl::string_view kDeviceForm =
    "hosts/{host}/devices/{bdf}, with {bdf} like 0000:3b:00.0";
constexpr absl::string_view kVirtualMachineForm =
    "projects/{project}/virtualMachines/{virtual_machine}, ids of 1-63 characters [a-z0-9-] "
    "beginning with a letter and ending with a letter or digit";
constexpr absl::string_view kPasidBindingForm =
    "projects/{project}/virtualMachines/{virtual_machine}/pasidBindings/{binding}, ids of 1-63 "
    "characters [a-z0-9-] beginning with a letter and ending with a letter or digit";

}  // namespace

// [a-z0-9-], beginning with a letter, ending with a letter or digit.
bool IsProjectResourceId(absl::string_view id) {
  return !id.empty() && id.size() <= kMaxIdLength && IsLower(id.front()) && id.back() != '-' &&
         std::all_of(id.begin(), id.end(),
                     [](char c) { return IsLower(c) || IsDigit(c) || c == '-'; });
}

absl::StatusOr<HostName> HostName::Parse(absl::string_view name) {
  auto ids = SplitName(name, kHostCollections, kHostForm);
  if (!ids.ok()) return ids.status();
  if (!IsHostId((*ids)[0])) return Malformed(name, kHostForm);
  return HostName{std::string((*ids)[0])};
}

std::string HostName::ToString() const { return absl::StrCat("hosts/", host); }

absl::StatusOr<DeviceName> DeviceName::Parse(absl::string_view name) {
  auto ids = SplitName(name, kDeviceCollections, kDeviceForm);
  if (!ids.ok()) return ids.status();
  if (!IsHostId((*ids)[0]) || !IsBdf((*ids)[1])) return Malformed(name, kDeviceForm);
  return DeviceName{std::string((*ids)[0]), std::string((*ids)[1])};
}

std::string DeviceName::ToString() const { return absl::StrCat("hosts/", host, "/devices/", bdf); }

absl::StatusOr<VirtualMachineName> VirtualMachineName::Parse(absl::string_view name) {
  auto ids = SplitName(name, kVirtualMachineCollections, kVirtualMachineForm);
  if (!ids.ok()) return ids.status();
  if (!IsProjectResourceId((*ids)[0]) || !IsProjectResourceId((*ids)[1])) {
    return Malformed(name, kVirtualMachineForm);
  }
  return VirtualMachineName{std::string((*ids)[0]), std::string((*ids)[1])};
}

std::string VirtualMachineName::ToString() const {
  return absl::StrCat("projects/", project, "/virtualMachines/", virtual_machine);
}

absl::StatusOr<PasidBindingName> PasidBindingName::Parse(absl::string_view name) {
  auto ids = SplitName(name, kPasidBindingCollections, kPasidBindingForm);
  if (!ids.ok()) return ids.status();
  if (!std::all_of(ids->begin(), ids->end(), IsProjectResourceId)) {
    return Malformed(name, kPasidBindingForm);
  }
  return PasidBindingName{std::string((*ids)[0]), std::string((*ids)[1]), std::string((*ids)[2])};
}

std::string PasidBindingName::ToString() const {
  return absl::StrCat("projects/", project, "/virtualMachines/", virtual_machine, "/pasidBindings/",
                      binding);
}

absl::StatusOr<std::string> ParseHostParent(absl::string_view parent) {
  if (parent == "hosts/-") return std::string();
  auto name = HostName::Parse(parent);
  if (!name.ok()) return Malformed(parent, "hosts/{host} or hosts/-");
  return name->host;
}

absl::StatusOr<std::string> ParseProjectParent(absl::string_view parent) {
  constexpr absl::string_view kForm = "projects/{project} or projects/-";
  auto ids = SplitName(parent, kProjectCollections, kForm);
  if (!ids.ok()) return ids.status();
  const absl::string_view id = ids->front();
  if (id == "-") return std::string();
  if (!IsProjectResourceId(id)) return Malformed(parent, kForm);
  return std::string(id);
}

absl::StatusOr<VirtualMachineName> ParseVirtualMachineParent(absl::string_view parent) {
  constexpr absl::string_view kForm =
      "projects/{project}/virtualMachines/{virtual_machine}, where either id may be -";
  auto ids = SplitName(parent, kVirtualMachineCollections, kForm);
  if (!ids.ok()) return ids.status();
  for (absl::string_view& id : *ids) {
    if (id == "-") {
      id = "";
    } else if (!IsProjectResourceId(id)) {
      return Malformed(parent, kForm);
    }
  }
  return VirtualMachineName{std::string((*ids)[0]), std::string((*ids)[1])};
}

bool IsBdf(absl::string_view bdf) {
  constexpr absl::string_view kPattern = "hhhh:hh:hh.f";
  if (bdf.size() != kPattern.size()) return false;
  for (size_t i = 0; i < bdf.size(); ++i) {
    if (kPattern[i] == 'h'   ? !IsHex(bdf[i])
        : kPattern[i] == 'f' ? bdf[i] < '0' || bdf[i] > '7'
                             : bdf[i] != kPattern[i]) {
      return false;
    }
  }
  // A PCI bus has 32 device numbers.
  return bdf[8] < '2';
}

std::string Printable(absl::string_view text) {
  constexpr size_t kMaxShown = 80;
  static constexpr char kHexDigits[] = "0123456789abcdef";
  std::string shown;
  for (char c : text) {
    const bool plain = c >= 0x20 && c < 0x7f;
    if (shown.size() + (plain ? 1 : 4) > kMaxShown) return shown + "...";
    if (plain) {
      shown += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      shown += {'\\', 'x', kHexDigits[byte >> 4], kHexDigits[byte & 15]};
    }
  }
  return shown;
}

}  // namespace nestor
