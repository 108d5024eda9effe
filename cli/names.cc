#include "cli/names.h"

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "api/support/resource_name.h"
#include "cli/nearest_name.h"

namespace nestor::cli {
namespace {

template <typename Name>
absl::StatusOr<std::string> Checked(absl::string_view full) {
  auto name = Name::Parse(full);
  if (!name.ok()) return name.status();
  return name->ToString();
}

// `a/b`, or an error that shows the short form.
absl::StatusOr<std::pair<std::string, std::string>> SplitPair(absl::string_view name,
                                                              absl::string_view form) {
  std::vector<std::string> parts = absl::StrSplit(name, '/');
  if (parts.size() == 2) return std::make_pair(parts[0], parts[1]);
  return absl::InvalidArgumentError(
      absl::StrCat("\"", Printable(name), "\" is not a name of the form ", form));
}

absl::StatusOr<std::string> FullDeviceName(absl::string_view name) {
  if (absl::StartsWith(name, "hosts/")) return Checked<DeviceName>(name);
  auto pair = SplitPair(name, "{host}/{bdf}, for example host-a/0000:01:00.0");
  if (!pair.ok()) return pair.status();
  return Checked<DeviceName>(absl::StrCat("hosts/", pair->first, "/devices/", pair->second));
}

absl::StatusOr<std::string> FullBindingName(absl::string_view name, absl::string_view project) {
  if (absl::StartsWith(name, "projects/")) return Checked<PasidBindingName>(name);
  auto pair = SplitPair(name, "{virtual machine}/{binding}, for example web-1/sva-3");
  if (!pair.ok()) return pair.status();
  return Checked<PasidBindingName>(absl::StrCat("projects/", project, "/virtualMachines/",
                                                pair->first, "/pasidBindings/", pair->second));
}

}  // namespace

absl::StatusOr<Kind> ParseKind(absl::string_view word) {
  static const auto* const kWords = new std::vector<std::pair<std::string, Kind>>{
      {"hosts", Kind::kHost},
      {"host", Kind::kHost},
      {"devices", Kind::kDevice},
      {"device", Kind::kDevice},
      {"vms", Kind::kVirtualMachine},
      {"vm", Kind::kVirtualMachine},
      {"virtualmachines", Kind::kVirtualMachine},
      {"virtualmachine", Kind::kVirtualMachine},
      {"bindings", Kind::kPasidBinding},
      {"binding", Kind::kPasidBinding},
      {"pasidbindings", Kind::kPasidBinding},
      {"pasidbinding", Kind::kPasidBinding},
  };
  const std::string lower = absl::AsciiStrToLower(word);
  for (const auto& [known, kind] : *kWords) {
    if (lower == known) return kind;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown kind \"", Printable(word), "\"",
                   Suggestion(word, {"hosts", "devices", "vms", "bindings"})));
}

absl::string_view KindNoun(Kind kind) {
  switch (kind) {
    case Kind::kHost:
      return "host";
    case Kind::kDevice:
      return "device";
    case Kind::kVirtualMachine:
      return "virtual machine";
    case Kind::kPasidBinding:
      return "binding";
  }
  return "";
}

absl::string_view KindName(Kind kind) {
  switch (kind) {
    case Kind::kHost:
      return "Host";
    case Kind::kDevice:
      return "Device";
    case Kind::kVirtualMachine:
      return "VirtualMachine";
    case Kind::kPasidBinding:
      return "PasidBinding";
  }
  return "";
}

absl::StatusOr<std::string> FullName(Kind kind, absl::string_view name, absl::string_view project) {
  const bool is_short = name.find('/') == absl::string_view::npos;
  switch (kind) {
    case Kind::kHost:
      return Checked<HostName>(is_short ? absl::StrCat("hosts/", name) : std::string(name));
    case Kind::kVirtualMachine:
      return Checked<VirtualMachineName>(
          is_short ? absl::StrCat("projects/", project, "/virtualMachines/", name)
                   : std::string(name));
    case Kind::kDevice:
      return FullDeviceName(name);
    case Kind::kPasidBinding:
      return FullBindingName(name, project);
  }
  return absl::InternalError("unknown kind");
}

std::string ShortName(absl::string_view name, bool with_project) {
  std::vector<absl::string_view> parts = absl::StrSplit(name, '/');
  if (parts.size() % 2 != 0) return std::string(name);
  std::string ids;
  for (size_t i = 0; i < parts.size(); i += 2) {
    if (parts[i] == "projects" && !with_project) continue;
    absl::StrAppend(&ids, ids.empty() ? "" : "/", parts[i + 1]);
  }
  return ids;
}

std::string ProjectOf(absl::string_view name) {
  std::vector<absl::string_view> parts = absl::StrSplit(name, '/');
  return parts.size() >= 2 && parts[0] == "projects" ? std::string(parts[1]) : "";
}

}  // namespace nestor::cli
