#include "cli/manifest.h"

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "cli/message_decoder.h"
#include "cli/names.h"
#include "cli/nearest_name.h"
#include "cli/yaml_tree.h"

namespace nestor::cli {
namespace {

constexpr absl::string_view kApiVersion = "nestor.dev/v1";
constexpr absl::string_view kBindings = "bindings";

// Collects the documents of all sources, then brings bindings to their machines.
class ManifestReader {
 public:
  explicit ManifestReader(absl::string_view project) : project_(project) {}

  absl::Status Read(const ManifestSource& source) {
    file_ = source.file;
    auto documents = ParseYaml(source.text, file_);
    if (!documents.ok()) return documents.status();
    for (const YamlValue& document : *documents) {
      if (document.kind != YamlValue::Kind::kSequence) {
        RETURN_IF_ERROR(ReadDocument(document));
        continue;
      }
      for (const YamlValue& item : document.items) RETURN_IF_ERROR(ReadDocument(item));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Manifest> Finish() && {
    if (origin_of_.empty()) {
      return absl::InvalidArgumentError("the manifest is empty: it names no resource");
    }
    absl::flat_hash_map<std::string, VirtualMachineDocument*> machines;
    for (auto& machine : manifest_.virtual_machines) machines[machine.resource.name()] = &machine;
    for (auto& binding : std::exchange(manifest_.bindings, {})) {
      auto machine = machines.find(MachineOf(binding.resource));
      if (machine == machines.end()) {
        manifest_.bindings.push_back(std::move(binding));
        continue;
      }
      auto& owned = machine->second->bindings;
      if (!owned.has_value()) owned.emplace();
      owned->push_back(std::move(binding));
    }
    return std::move(manifest_);
  }

 private:
  static std::string MachineOf(const v1::PasidBinding& binding) {
    auto name = PasidBindingName::Parse(binding.name());
    return name.ok() ? name->Parent().ToString() : "";
  }

  std::string Origin(Place place) const { return absl::StrCat(file_, ":", place.line); }

  // The text under `key`; empty where there is none.
  absl::StatusOr<std::string> Text(const YamlValue& document, absl::string_view key) const {
    const YamlValue* value = document.Find(key);
    if (value == nullptr) return std::string();
    if (value->kind == YamlValue::Kind::kScalar) return value->text;
    return ErrorAt(file_, value->place, absl::StrCat(key, ": expected text"));
  }

  absl::Status ReadDocument(const YamlValue& document) {
    if (document.kind != YamlValue::Kind::kMapping) {
      return ErrorAt(file_, document.place, "expected a resource: a mapping with kind, name, spec");
    }
    ASSIGN_OR_RETURN(const std::string version, Text(document, "apiVersion"));
    if (!version.empty() && version != kApiVersion) {
      return ErrorAt(
          file_, document.Find("apiVersion")->place,
          absl::StrCat("unknown apiVersion \"", Printable(version), "\"; known is ", kApiVersion));
    }
    ASSIGN_OR_RETURN(const std::string kind, Text(document, "kind"));
    if (kind == "Host") return ReadHost(document);
    if (kind == "VirtualMachine") return ReadVirtualMachine(document);
    if (kind == "PasidBinding") return ReadBinding(document);
    const std::vector<std::string> known = {"Host", "VirtualMachine", "PasidBinding"};
    if (kind.empty()) {
      return ErrorAt(file_, document.place,
                     "\"kind\" is missing: Host, VirtualMachine or PasidBinding");
    }
    return ErrorAt(file_, document.Find("kind")->place,
                   absl::StrCat("unknown kind \"", Printable(kind), "\"", Suggestion(kind, known)));
  }

  absl::Status ReadHost(const YamlValue& value) {
    Document<v1::Host> document{{}, Origin(value.place)};
    RETURN_IF_ERROR(ReadResource(value, Kind::kHost, {"kind", "apiVersion"}, &document.resource));
    manifest_.hosts.push_back(std::move(document));
    return absl::OkStatus();
  }

  absl::Status ReadBinding(const YamlValue& value) {
    Document<v1::PasidBinding> document{{}, Origin(value.place)};
    RETURN_IF_ERROR(
        ReadResource(value, Kind::kPasidBinding, {"kind", "apiVersion"}, &document.resource));
    manifest_.bindings.push_back(std::move(document));
    return absl::OkStatus();
  }

  absl::Status ReadVirtualMachine(const YamlValue& value) {
    VirtualMachineDocument document;
    document.origin = Origin(value.place);
    RETURN_IF_ERROR(ReadResource(value, Kind::kVirtualMachine,
                                 {"kind", "apiVersion", std::string(kBindings)},
                                 &document.resource));
    RETURN_IF_ERROR(CompleteHostName(value, &document.resource));
    if (const YamlValue* bindings = value.Find(kBindings)) {
      RETURN_IF_ERROR(ReadInlineBindings(*bindings, &document));
    }
    manifest_.virtual_machines.push_back(std::move(document));
    return absl::OkStatus();
  }

  // `host: host-a` means `hosts/host-a`.
  absl::Status CompleteHostName(const YamlValue& value, v1::VirtualMachine* machine) const {
    if (machine->spec().placement().host().empty()) return absl::OkStatus();
    auto host = FullName(Kind::kHost, machine->spec().placement().host(), project_);
    if (!host.ok()) {
      const YamlValue* written = value.Find("spec")->Find("placement")->Find("host");
      return ErrorAt(file_, written->place, host.status().message());
    }
    machine->mutable_spec()->mutable_placement()->set_host(*host);
    return absl::OkStatus();
  }

  absl::Status ReadInlineBindings(const YamlValue& list, VirtualMachineDocument* machine) {
    if (list.kind != YamlValue::Kind::kSequence) {
      return ErrorAt(file_, list.place, "bindings: expected a list ([] for none)");
    }
    machine->bindings.emplace();
    for (const YamlValue& item : list.items) {
      Document<v1::PasidBinding> binding{{}, Origin(item.place)};
      RETURN_IF_ERROR(DecodeMessage(item, file_, {}, &binding.resource));
      ASSIGN_OR_RETURN(const std::string id, RequiredName(item));
      const std::string prefix = absl::StrCat(machine->resource.name(), "/pasidBindings/");
      const std::string full = absl::StartsWith(id, prefix) ? id : absl::StrCat(prefix, id);
      RETURN_IF_ERROR(SetName(item, Kind::kPasidBinding, full, &binding.resource));
      machine->bindings->push_back(std::move(binding));
    }
    return absl::OkStatus();
  }

  template <typename Resource>
  absl::Status ReadResource(const YamlValue& value, Kind kind,
                            const std::vector<std::string>& other_keys, Resource* resource) {
    RETURN_IF_ERROR(DecodeMessage(value, file_, other_keys, resource));
    ASSIGN_OR_RETURN(const std::string name, RequiredName(value));
    return SetName(value, kind, name, resource);
  }

  absl::StatusOr<std::string> RequiredName(const YamlValue& resource) const {
    ASSIGN_OR_RETURN(std::string name, Text(resource, "name"));
    if (name.empty()) return ErrorAt(file_, resource.place, "\"name\" is missing");
    return name;
  }

  // Sets the full name, which must be new.
  template <typename Resource>
  absl::Status SetName(const YamlValue& value, Kind kind, absl::string_view name,
                       Resource* resource) {
    const Place place = value.Find("name")->place;
    auto full = FullName(kind, name, project_);
    if (!full.ok()) return ErrorAt(file_, place, full.status().message());
    auto [first, inserted] = origin_of_.emplace(*full, Origin(place));
    if (!inserted) {
      return ErrorAt(file_, place,
                     absl::StrCat(*full, " is given twice, first at ", first->second));
    }
    resource->set_name(*full);
    return absl::OkStatus();
  }

  const std::string project_;
  // The source that is being read.
  std::string file_;
  Manifest manifest_;
  // By full name.
  absl::flat_hash_map<std::string, std::string> origin_of_;
};

}  // namespace

absl::StatusOr<Manifest> ParseManifest(const std::vector<ManifestSource>& sources,
                                       absl::string_view project) {
  ManifestReader reader(project);
  for (const ManifestSource& source : sources) RETURN_IF_ERROR(reader.Read(source));
  return std::move(reader).Finish();
}

}  // namespace nestor::cli
