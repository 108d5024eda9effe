// What differs between two versions of a resource's intent, field by field.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cli/names.h"
#include "nestor/v1/resources.pb.h"

namespace nestor::cli {

// One field. The values are as in YAML, an empty text where the field is not set.
struct FieldChange {
  // In the API's JSON form, e.g. "spec.pageTable.root".
  std::string path;
  std::string from;
  std::string to;

  bool operator==(const FieldChange&) const = default;
};

// The fields of the spec and the labels that differ, in order of path. An empty resource has
// no fields.
std::vector<FieldChange> DiffIntent(const v1::Host& from, const v1::Host& to);
std::vector<FieldChange> DiffIntent(const v1::VirtualMachine& from, const v1::VirtualMachine& to);
std::vector<FieldChange> DiffIntent(const v1::PasidBinding& from, const v1::PasidBinding& to);

// What becomes of a resource.
enum class Change { kCreate, kUpdate, kDelete };

// For people, as lines: "~ binding demo/web-1/sva-3", then a line for each field:
// "    spec.pageTable.root: 0x1000 -> 0x2000". What is created has + in front and shows its
// fields; what is deleted has - and shows none.
std::string ChangeText(Change change, Kind kind, absl::string_view name,
                       const std::vector<FieldChange>& fields);

}  // namespace nestor::cli
