// "Label:   value" lines with aligned values.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace nestor::cli {

class FieldList {
 public:
  // `value` must be safe for a terminal already; "-" stands for an empty one.
  void Add(absl::string_view label, absl::string_view value);
  // The lines, each indented by `indent` spaces.
  std::string ToString(int indent = 0) const;

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

}  // namespace nestor::cli
