#include "cli/field_list.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace nestor::cli {

void FieldList::Add(absl::string_view label, absl::string_view value) {
  fields_.emplace_back(label, value.empty() ? "-" : value);
}

std::string FieldList::ToString(int indent) const {
  constexpr size_t kGap = 3;
  size_t width = 0;
  for (const auto& field : fields_) width = std::max(width, field.first.size());
  std::string text;
  for (const auto& [label, value] : fields_) {
    absl::StrAppend(&text, std::string(indent, ' '), label, ":",
                    std::string(width + kGap - label.size() - 1, ' '), value, "\n");
  }
  return text;
}

}  // namespace nestor::cli
