// Enumeration values as people write them: PROGRAMMED for STATE_PROGRAMMED.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/generated_enum_reflection.h>

#include <string>

namespace nestor::cli {

// The value's name without the prefix that all values of its enumeration share.
std::string ShortEnumName(const google::protobuf::EnumValueDescriptor& value);

// The same for a generated enumeration: "-" for the zero value, which means that nothing was
// said; a number unknown to this program is shown as such.
template <typename Enum>
std::string ShortEnumName(Enum value) {
  if (static_cast<int>(value) == 0) return "-";
  const auto* descriptor =
      google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(static_cast<int>(value));
  return descriptor == nullptr ? std::to_string(static_cast<int>(value))
                               : ShortEnumName(*descriptor);
}

}  // namespace nestor::cli
