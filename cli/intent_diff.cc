#include "cli/intent_diff.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/message_text.h"
#include "cli/text.h"
#include "cli/yaml_tree.h"

namespace nestor::cli {
namespace {

using Fields = std::map<std::string, std::string>;

std::string ListText(const YamlValue& list) {
  return absl::StrCat(
      "[",
      absl::StrJoin(list.items, ", ",
                    [](std::string* out, const YamlValue& item) { out->append(item.text); }),
      "]");
}

// Lists are taken as one value: intents have lists of texts only.
void Flatten(const YamlValue& value, const std::string& path, Fields* fields) {
  switch (value.kind) {
    case YamlValue::Kind::kMapping:
      if (value.items.empty()) (*fields)[path] = "{}";
      for (size_t i = 0; i < value.items.size(); ++i) {
        const std::string& key = value.keys[i].name;
        Flatten(value.items[i], path.empty() ? key : absl::StrCat(path, ".", key), fields);
      }
      return;
    case YamlValue::Kind::kSequence:
      (*fields)[path] = ListText(value);
      return;
    default:
      (*fields)[path] = value.text;
  }
}

// Goes by way of YAML, so that values look as they do in manifests.
template <typename Resource>
Fields IntentFields(const Resource& resource) {
  Resource intent;
  if (resource.has_spec()) *intent.mutable_spec() = resource.spec();
  if (!resource.metadata().labels().empty()) {
    *intent.mutable_metadata()->mutable_labels() = resource.metadata().labels();
  }
  Fields fields;
  const auto documents = ParseYaml(ToYaml(intent, ""), "");
  if (!documents.ok() || documents->empty()) return fields;
  Flatten(documents->front(), "", &fields);
  // An intent that says nothing, or whose spec says nothing.
  fields.erase("");
  fields.erase("spec");
  return fields;
}

std::vector<FieldChange> DiffFields(const Fields& from, const Fields& to) {
  Fields all = from;
  all.insert(to.begin(), to.end());
  std::vector<FieldChange> changes;
  auto value = [](const Fields& fields, const std::string& path) {
    auto found = fields.find(path);
    return found == fields.end() ? std::string() : found->second;
  };
  for (const auto& field : all) {
    FieldChange change{field.first, value(from, field.first), value(to, field.first)};
    if (change.from != change.to) changes.push_back(std::move(change));
  }
  return changes;
}

std::string FieldText(const FieldChange& field) {
  std::string text = absl::StrCat("    ", TerminalSafe(field.path), ": ");
  if (field.from.empty()) return absl::StrCat(text, TerminalSafe(field.to));
  return absl::StrCat(text, TerminalSafe(field.from), " -> ",
                      field.to.empty() ? "(not set)" : TerminalSafe(field.to));
}

}  // namespace

std::vector<FieldChange> DiffIntent(const v1::Host& from, const v1::Host& to) {
  return DiffFields(IntentFields(from), IntentFields(to));
}

std::vector<FieldChange> DiffIntent(const v1::VirtualMachine& from, const v1::VirtualMachine& to) {
  return DiffFields(IntentFields(from), IntentFields(to));
}

std::vector<FieldChange> DiffIntent(const v1::PasidBinding& from, const v1::PasidBinding& to) {
  return DiffFields(IntentFields(from), IntentFields(to));
}

std::string ChangeText(Change change, Kind kind, absl::string_view name,
                       const std::vector<FieldChange>& fields) {
  const char* mark = change == Change::kCreate ? "+" : change == Change::kDelete ? "-" : "~";
  std::string text =
      absl::StrCat(mark, " ", KindNoun(kind), " ", TerminalSafe(ShortName(name, true)), "\n");
  if (change == Change::kDelete) return text;
  for (const FieldChange& field : fields) absl::StrAppend(&text, FieldText(field), "\n");
  return text;
}

}  // namespace nestor::cli
