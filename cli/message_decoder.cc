#include "cli/message_decoder.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "cli/enum_name.h"
#include "cli/nearest_name.h"

namespace nestor::cli {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

absl::string_view KindText(YamlValue::Kind kind) {
  switch (kind) {
    case YamlValue::Kind::kNull:
      return "nothing";
    case YamlValue::Kind::kScalar:
      return "a single value";
    case YamlValue::Kind::kSequence:
      return "a list";
    case YamlValue::Kind::kMapping:
      return "a mapping";
  }
  return "";
}

// Written only by the server.
bool IsOutputOnly(const FieldDescriptor& field) {
  if (field.name() == "status") return true;
  return field.containing_type()->name() == "Metadata" && field.name() != "labels";
}

const FieldDescriptor* FindField(const Descriptor& type, absl::string_view key) {
  for (int i = 0; i < type.field_count(); ++i) {
    if (type.field(i)->json_name() == key) return type.field(i);
  }
  return nullptr;
}

std::vector<std::string> KnownKeys(const Descriptor& type) {
  std::vector<std::string> keys;
  for (int i = 0; i < type.field_count(); ++i) {
    if (!IsOutputOnly(*type.field(i))) keys.push_back(type.field(i)->json_name());
  }
  return keys;
}

// Decimal without leading zeros (YAML 1.1 reads those as octal, YAML 1.2 does not), or
// hexadecimal with 0x.
std::optional<uint64_t> ParseUnsigned(absl::string_view text) {
  uint64_t number = 0;
  if (absl::StartsWith(text, "0x")) {
    const absl::string_view digits = text.substr(2);
    // SimpleHexAtoi would also take a sign or a second 0x.
    const bool plain = !digits.empty() && std::all_of(digits.begin(), digits.end(), [](char c) {
      return absl::ascii_isxdigit(static_cast<unsigned char>(c));
    });
    if (!plain || !absl::SimpleHexAtoi(digits, &number)) return std::nullopt;
    return number;
  }
  const bool plain =
      !text.empty() && (text == "0" || text[0] != '0') &&
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!plain || !absl::SimpleAtoi(text, &number)) return std::nullopt;
  return number;
}

class Decoder {
 public:
  explicit Decoder(absl::string_view file) : file_(file) {}

  absl::Status Decode(const YamlValue& value, const std::vector<std::string>& other_keys,
                      Message* message) const {
    if (value.kind != YamlValue::Kind::kMapping) return WrongKind(value, "a mapping");
    for (size_t i = 0; i < value.keys.size(); ++i) {
      const YamlKey& key = value.keys[i];
      if (std::count(other_keys.begin(), other_keys.end(), key.name) > 0) continue;
      const FieldDescriptor* field = FindField(*message->GetDescriptor(), key.name);
      if (field == nullptr) return UnknownKey(key, *message->GetDescriptor(), other_keys);
      if (IsOutputOnly(*field)) continue;
      RETURN_IF_ERROR(CheckAlternatives(key, *field, *message));
      RETURN_IF_ERROR(DecodeField(value.items[i], *field, message));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status WrongKind(const YamlValue& value, absl::string_view wanted) const {
    return ErrorAt(file_, value.place,
                   absl::StrCat("expected ", wanted, ", found ", KindText(value.kind)));
  }

  absl::Status WrongText(const YamlValue& value, const FieldDescriptor& field,
                         absl::string_view wanted) const {
    return ErrorAt(file_, value.place,
                   absl::StrCat(field.json_name(), ": expected ", wanted, ", found \"",
                                Printable(value.text), "\""));
  }

  absl::Status UnknownKey(const YamlKey& key, const Descriptor& type,
                          const std::vector<std::string>& other_keys) const {
    std::vector<std::string> known = KnownKeys(type);
    known.insert(known.begin(), other_keys.begin(), other_keys.end());
    return ErrorAt(
        file_, key.place,
        absl::StrCat("unknown key \"", Printable(key.name), "\"", Suggestion(key.name, known)));
  }

  absl::Status CheckAlternatives(const YamlKey& key, const FieldDescriptor& field,
                                 const Message& message) const {
    const auto* oneof = field.containing_oneof();
    if (oneof == nullptr || !message.GetReflection()->HasOneof(message, oneof)) {
      return absl::OkStatus();
    }
    const FieldDescriptor* other = message.GetReflection()->GetOneofFieldDescriptor(message, oneof);
    return ErrorAt(file_, key.place,
                   absl::StrCat("\"", key.name, "\" and \"", other->json_name(),
                                "\" exclude each other; give one of them"));
  }

  absl::Status DecodeField(const YamlValue& value, const FieldDescriptor& field,
                           Message* message) const {
    if (field.is_map()) return DecodeMap(value, field, message);
    if (!field.is_repeated()) return DecodeOne(value, field, message);
    if (value.kind != YamlValue::Kind::kSequence) return WrongKind(value, "a list");
    for (const YamlValue& item : value.items) RETURN_IF_ERROR(DecodeOne(item, field, message));
    return absl::OkStatus();
  }

  // The API's maps are all from text to text.
  absl::Status DecodeMap(const YamlValue& value, const FieldDescriptor& field,
                         Message* message) const {
    if (value.kind != YamlValue::Kind::kMapping) return WrongKind(value, "a mapping");
    const Descriptor& entry_type = *field.message_type();
    for (size_t i = 0; i < value.keys.size(); ++i) {
      YamlValue key;
      key.kind = YamlValue::Kind::kScalar;
      key.place = value.keys[i].place;
      key.text = value.keys[i].name;
      Message* entry = message->GetReflection()->AddMessage(message, &field);
      RETURN_IF_ERROR(DecodeOne(key, *entry_type.map_key(), entry));
      RETURN_IF_ERROR(DecodeOne(value.items[i], *entry_type.map_value(), entry));
    }
    return absl::OkStatus();
  }

  // Sets the field, or adds to it where it is repeated.
  absl::Status DecodeOne(const YamlValue& value, const FieldDescriptor& field,
                         Message* message) const {
    const Reflection& reflection = *message->GetReflection();
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      return Decode(value, {},
                    field.is_repeated() ? reflection.AddMessage(message, &field)
                                        : reflection.MutableMessage(message, &field));
    }
    if (value.kind != YamlValue::Kind::kScalar) {
      return WrongKind(value, absl::StrCat("a value for ", field.json_name()));
    }
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        return DecodeString(value, field, message);
      case FieldDescriptor::CPPTYPE_BOOL:
        return DecodeBool(value, field, message);
      case FieldDescriptor::CPPTYPE_ENUM:
        return DecodeEnum(value, field, message);
      default:
        return DecodeInteger(value, field, message);
    }
  }

  absl::Status DecodeString(const YamlValue& value, const FieldDescriptor& field,
                            Message* message) const {
    const bool ascii = std::all_of(value.text.begin(), value.text.end(),
                                   [](char c) { return c >= 0x20 && c < 0x7f; });
    if (!ascii) return WrongText(value, field, "printable ASCII text");
    if (field.is_repeated()) {
      message->GetReflection()->AddString(message, &field, value.text);
    } else {
      message->GetReflection()->SetString(message, &field, value.text);
    }
    return absl::OkStatus();
  }

  absl::Status DecodeBool(const YamlValue& value, const FieldDescriptor& field,
                          Message* message) const {
    if (value.text != "true" && value.text != "false") {
      return WrongText(value, field, "true or false");
    }
    message->GetReflection()->SetBool(message, &field, value.text == "true");
    return absl::OkStatus();
  }

  absl::Status DecodeEnum(const YamlValue& value, const FieldDescriptor& field,
                          Message* message) const {
    std::vector<std::string> known;
    for (int i = 1; i < field.enum_type()->value_count(); ++i) {
      const EnumValueDescriptor& candidate = *field.enum_type()->value(i);
      if (value.text == candidate.name() || value.text == ShortEnumName(candidate)) {
        message->GetReflection()->SetEnum(message, &field, &candidate);
        return absl::OkStatus();
      }
      known.push_back(ShortEnumName(candidate));
    }
    return ErrorAt(file_, value.place,
                   absl::StrCat(field.json_name(), ": unknown value \"", Printable(value.text),
                                "\"", Suggestion(value.text, known)));
  }

  absl::Status DecodeInteger(const YamlValue& value, const FieldDescriptor& field,
                             Message* message) const {
    const bool wide = field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64;
    const uint64_t limit =
        wide ? std::numeric_limits<uint64_t>::max() : std::numeric_limits<uint32_t>::max();
    const std::optional<uint64_t> number = ParseUnsigned(value.text);
    if (!number.has_value() || *number > limit) {
      return WrongText(
          value, field,
          absl::StrCat("a whole number of ", wide ? 64 : 32, " bits, like 4096 or 0x1000"));
    }
    if (wide) {
      message->GetReflection()->SetUInt64(message, &field, *number);
    } else {
      message->GetReflection()->SetUInt32(message, &field, static_cast<uint32_t>(*number));
    }
    return absl::OkStatus();
  }

  absl::string_view file_;
};

}  // namespace

absl::Status DecodeMessage(const YamlValue& value, absl::string_view file,
                           const std::vector<std::string>& other_keys, Message* message) {
  return Decoder(file).Decode(value, other_keys, message);
}

}  // namespace nestor::cli
