#include "cli/enum_name.h"

#include "absl/strings/strip.h"

namespace nestor::cli {

std::string ShortEnumName(const google::protobuf::EnumValueDescriptor& value) {
  // The zero value is always PREFIX_UNSPECIFIED.
  absl::string_view prefix = value.type()->value(0)->name();
  absl::ConsumeSuffix(&prefix, "UNSPECIFIED");
  return std::string(absl::StripPrefix(value.name(), prefix));
}

}  // namespace nestor::cli
