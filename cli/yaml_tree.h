// Turns YAML text (JSON is a part of YAML) into a tree that knows where each value stands.
//
// The input is taken to be hostile, so everything is bounded: size, nesting, number of
// values. Anchors and aliases are refused: a few of them can stand for gigabytes. Duplicate
// keys are refused, since YAML readers differ in which of them counts.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace nestor::cli {

inline constexpr size_t kMaxYamlBytes = 16 << 20;
inline constexpr size_t kMaxYamlDepth = 64;
// A binding written in full has about 20 values, so this is 50,000 bindings in one file.
inline constexpr size_t kMaxYamlValues = 1'000'000;

// A place in a text; both count from 1.
struct Place {
  int line = 1;
  int column = 1;
};

// A key of a mapping.
struct YamlKey {
  std::string name;
  Place place;
};

// One value and all below it.
struct YamlValue {
  enum class Kind { kNull, kScalar, kSequence, kMapping };
  Kind kind = Kind::kNull;
  Place place;
  // kScalar: the text as written, escapes resolved.
  std::string text;
  // kSequence: its items. kMapping: the values, in the order of `keys`.
  std::vector<YamlValue> items;
  // kMapping only.
  std::vector<YamlKey> keys;

  // The value under `key` of a mapping; nullptr where there is none.
  const YamlValue* Find(absl::string_view key) const;
};

// The documents of `text` in order; empty ones are left out. `file` is used in messages
// only. INVALID_ARGUMENT with file:line:column otherwise.
absl::StatusOr<std::vector<YamlValue>> ParseYaml(absl::string_view text, absl::string_view file);

// INVALID_ARGUMENT with the message "file:line:column: what".
absl::Status ErrorAt(absl::string_view file, Place place, absl::string_view what);

}  // namespace nestor::cli
