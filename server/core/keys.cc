#include "server/core/keys.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace nestor::server::keys {
namespace {

template <size_t N>
bool AreProjectResourceIds(const std::optional<std::array<absl::string_view, N>>& ids) {
  return ids && std::all_of(ids->begin(), ids->end(), IsProjectResourceId);
}

}  // namespace

std::string Host(absl::string_view host) { return absl::StrCat("h/", host); }

std::string HostObserved(absl::string_view host) { return absl::StrCat("oh/", host); }

std::string HostEvents(absl::string_view host) { return absl::StrCat("oe/", host); }

std::string DeviceObserved(absl::string_view host, absl::string_view bdf) {
  return absl::StrCat("od/", host, "/", bdf);
}

std::string VirtualMachine(const VirtualMachineName& name) {
  return absl::StrCat("v/", name.project, "/", name.virtual_machine);
}

std::string VirtualMachineObserved(const VirtualMachineName& name) {
  return absl::StrCat("ov/", name.project, "/", name.virtual_machine);
}

std::string PasidBinding(const PasidBindingName& name) {
  return absl::StrCat("b/", name.project, "/", name.virtual_machine, "/", name.binding);
}

std::string PasidBindingObserved(const PasidBindingName& name) {
  return absl::StrCat("ob/", name.project, "/", name.virtual_machine, "/", name.binding);
}

std::string PasidBindingsOf(const VirtualMachineName& name) {
  return absl::StrCat("b/", name.project, "/", name.virtual_machine, "/");
}

std::string PasidClaim(absl::string_view host, absl::string_view bdf, uint32_t pasid) {
  return absl::StrCat("p/", host, "/", bdf, "/", absl::Hex(pasid, absl::kZeroPad8));
}

std::string DeviceClaim(absl::string_view host, absl::string_view bdf) {
  return absl::StrCat("d/", host, "/", bdf);
}

std::string Epoch(absl::string_view host) { return absl::StrCat(kEpochs, host); }

std::string HostFence(absl::string_view host) { return absl::StrCat("f/", host); }
std::string RunEnd(int64_t revision) {
  return absl::StrCat(kRunEnds, absl::Hex(revision, absl::kZeroPad16));
}

std::string Departure(absl::string_view host, const VirtualMachineName& machine) {
  return absl::StrCat(DeparturesFrom(host), machine.project, "/", machine.virtual_machine);
}

std::string DeparturesFrom(absl::string_view host) { return absl::StrCat("m/", host, "/"); }

std::string Request(absl::string_view scope, absl::string_view request_id) {
  return absl::StrCat("r/", scope, "/", request_id);
}

std::string VirtualMachineNameOf(absl::string_view rest) {
  const auto ids = SplitPath<2>(rest);
  if (!ids) return "";
  const auto [project, machine] = *ids;
  return absl::StrCat("projects/", project, "/virtualMachines/", machine);
}

std::string PasidBindingNameOf(absl::string_view rest) {
  const auto ids = SplitPath<3>(rest);
  if (!ids) return "";
  const auto [project, machine, binding] = *ids;
  return absl::StrCat("projects/", project, "/virtualMachines/", machine, "/pasidBindings/",
                      binding);
}

std::pair<std::string, std::string> ParseDeparture(absl::string_view key) {
  const std::vector<absl::string_view> parts = absl::StrSplit(key, absl::MaxSplits('/', 2));
  if (parts.size() != 3 || parts[0] != "m") return {};
  return {std::string(parts[1]), VirtualMachineNameOf(parts[2])};
}

std::optional<PasidClaimKey> ParsePasidClaim(absl::string_view key) {
  if (!absl::ConsumePrefix(&key, "p/")) return std::nullopt;
  const auto parts = SplitPath<3>(key);
  if (!parts) return std::nullopt;
  PasidClaimKey parsed{(*parts)[0], (*parts)[1]};
  if (!absl::SimpleHexAtoi((*parts)[2], &parsed.pasid)) return std::nullopt;
  return parsed;
}

std::optional<int64_t> ParseRunEnd(absl::string_view key) {
  absl::string_view digits = key;
  int64_t revision = 0;
  if (!absl::ConsumePrefix(&digits, kRunEnds) || !absl::SimpleHexAtoi(digits, &revision) ||
      RunEnd(revision) != key) {
    return std::nullopt;
  }
  return revision;
}

bool IsKey(absl::string_view key) {
  const auto [kind, rest] =
      std::pair<absl::string_view, absl::string_view>(absl::StrSplit(key, absl::MaxSplits('/', 1)));
  if (kind == "h" || kind == "oh" || kind == "oe" || kind == "e" || kind == "f") {
    return HostName::Parse(absl::StrCat("hosts/", rest)).ok();
  }
  if (kind == "od" || kind == "d") {
    const auto ids = SplitPath<2>(rest);
    return ids && HostName::Parse(absl::StrCat("hosts/", (*ids)[0])).ok() && IsBdf((*ids)[1]);
  }
  if (kind == "v" || kind == "ov") return AreProjectResourceIds(SplitPath<2>(rest));
  if (kind == "b" || kind == "ob") return AreProjectResourceIds(SplitPath<3>(rest));
  if (kind == "m") {
    const auto [host, machine] = ParseDeparture(key);
    return HostName::Parse(absl::StrCat("hosts/", host)).ok() &&
           VirtualMachineName::Parse(machine).ok();
  }
  if (kind == "s") return ParseRunEnd(key).has_value();
  if (kind == "p") return ParsePasidClaim(key).has_value();
  return kind == "r" && absl::StrContains(rest, '/');
}

}  // namespace nestor::server::keys
