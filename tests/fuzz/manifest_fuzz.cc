// A manifest is refused with its place, or what was understood reads the same when printed.
#include <map>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/manifest.h"
#include "cli/message_text.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace nestor::fuzz {
namespace {

using cli::Manifest;

// All resources by name, with their kind.
using Resources = std::map<std::string, std::pair<std::string, std::string>>;

template <typename Documents>
void AddResources(const Documents& documents, const std::string& kind, Resources* resources) {
  for (const auto& document : documents) {
    const auto& resource = document.resource;
    const bool is_new =
        resources->emplace(resource.name(), std::pair(kind, cli::ToYaml(resource, kind))).second;
    FUZZ_CHECK(is_new);
  }
}

Resources ResourcesOf(const Manifest& manifest) {
  Resources resources;
  AddResources(manifest.hosts, "Host", &resources);
  AddResources(manifest.virtual_machines, "VirtualMachine", &resources);
  AddResources(manifest.bindings, "PasidBinding", &resources);
  for (const auto& machine : manifest.virtual_machines) {
    if (machine.bindings.has_value()) {
      AddResources(*machine.bindings, "PasidBinding", &resources);
    }
  }
  return resources;
}

void CheckRefusal(const absl::Status& refusal) {
  FUZZ_CHECK(refusal.code() == absl::StatusCode::kInvalidArgument);
  FUZZ_CHECK(absl::StartsWith(refusal.message(), "f.yaml:") ||
             absl::StartsWith(refusal.message(), "the manifest is empty"));
}

}  // namespace

void FuzzManifest(absl::string_view bytes) {
  const auto manifest = cli::ParseManifest({{"f.yaml", std::string(bytes)}}, "default");
  if (!manifest.ok()) return CheckRefusal(manifest.status());

  const Resources resources = ResourcesOf(*manifest);
  FUZZ_CHECK(!resources.empty());
  std::string printed;
  for (const auto& [name, resource] : resources)
    absl::StrAppend(&printed, "---\n", resource.second);
  const auto again = cli::ParseManifest({{"f.yaml", printed}}, "other");
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(ResourcesOf(*again) == resources);
}

}  // namespace nestor::fuzz
