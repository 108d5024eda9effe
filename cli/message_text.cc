#include "cli/message_text.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/time_util.h>
#include <yaml-cpp/emitter.h>

#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/enum_name.h"

namespace nestor::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::util::TimeUtil;

std::string Json(const Message& message, absl::string_view kind, bool indented) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = indented;
  std::string json;
  // Fails for malformed Any messages only, which the API does not have.
  (void)google::protobuf::util::MessageToJsonString(message, &json, options);
  json = std::string(absl::StripTrailingAsciiWhitespace(json));
  if (kind.empty()) return json;
  // The writer has no place for a key that is not a field, so it is put after the brace.
  const absl::string_view separator = json == "{}" ? "" : ",";
  return absl::StrCat("{", indented ? "\n " : "", "\"kind\":", indented ? " " : "", "\"", kind,
                      "\"", separator, json.substr(1));
}

// Whether another YAML reader could take the plain text for something else than text.
bool NeedsQuotes(absl::string_view text) {
  static const auto* const kWords =
      new std::vector<std::string>{"true", "false", "yes", "no", "on", "off", "null", "y", "n"};
  if (text.empty() || !absl::ascii_isalpha(static_cast<unsigned char>(text[0]))) return true;
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '/' ||
           c == '.';
  });
  return !plain || std::count(kWords->begin(), kWords->end(), absl::AsciiStrToLower(text)) > 0;
}

class YamlWriter {
 public:
  std::string Write(const Message& message, absl::string_view kind) {
    WriteMapping(message, kind);
    return absl::StrCat(out_.c_str(), "\n");
  }

 private:
  void WriteText(const std::string& text) {
    if (NeedsQuotes(text)) out_ << YAML::DoubleQuoted;
    out_ << text;
  }

  void WriteMapping(const Message& message, absl::string_view kind = "") {
    std::vector<const FieldDescriptor*> fields;
    message.GetReflection()->ListFields(message, &fields);
    if (fields.empty() && kind.empty()) out_ << YAML::Flow;
    out_ << YAML::BeginMap;
    if (!kind.empty()) out_ << YAML::Key << "kind" << YAML::Value << std::string(kind);
    for (const FieldDescriptor* field : fields) {
      out_ << YAML::Key << field->json_name() << YAML::Value;
      if (field->is_map()) {
        WriteMap(message, *field);
      } else if (field->is_repeated()) {
        WriteList(message, *field);
      } else {
        WriteValue(message, *field, -1);
      }
    }
    out_ << YAML::EndMap;
  }

  void WriteList(const Message& message, const FieldDescriptor& field) {
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) out_ << YAML::Flow;
    out_ << YAML::BeginSeq;
    const int size = message.GetReflection()->FieldSize(message, &field);
    for (int i = 0; i < size; ++i) WriteValue(message, field, i);
    out_ << YAML::EndSeq;
  }

  // The API's maps are all from text to text; sorted, since theirs has no order.
  void WriteMap(const Message& message, const FieldDescriptor& field) {
    const Reflection& reflection = *message.GetReflection();
    std::map<std::string, std::string> sorted;
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
      const Reflection& pair = *entry.GetReflection();
      sorted[pair.GetString(entry, field.message_type()->map_key())] =
          pair.GetString(entry, field.message_type()->map_value());
    }
    out_ << YAML::BeginMap;
    for (const auto& [key, value] : sorted) {
      out_ << YAML::Key;
      WriteText(key);
      out_ << YAML::Value;
      WriteText(value);
    }
    out_ << YAML::EndMap;
  }

  void WriteMessage(const Message& message) {
    if (message.GetDescriptor() == google::protobuf::Timestamp::descriptor()) {
      google::protobuf::Timestamp time;
      time.CopyFrom(message);
      return WriteText(TimeUtil::ToString(time));
    }
    if (message.GetDescriptor() == google::protobuf::Duration::descriptor()) {
      google::protobuf::Duration duration;
      duration.CopyFrom(message);
      return WriteText(TimeUtil::ToString(duration));
    }
    WriteMapping(message);
  }

  // Writes the field, or its item `index` where that is not -1.
  void WriteValue(const Message& message, const FieldDescriptor& field, int index) {
    const Reflection& reflection = *message.GetReflection();
    const bool item = index >= 0;
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return WriteMessage(item ? reflection.GetRepeatedMessage(message, &field, index)
                                 : reflection.GetMessage(message, &field));
      case FieldDescriptor::CPPTYPE_STRING:
        return WriteText(item ? reflection.GetRepeatedString(message, &field, index)
                              : reflection.GetString(message, &field));
      case FieldDescriptor::CPPTYPE_ENUM:
        return WriteText(ShortEnumName(*(item ? reflection.GetRepeatedEnum(message, &field, index)
                                              : reflection.GetEnum(message, &field))));
      default:
        return WriteNumber(message, field);
    }
  }

  // The API has no lists of numbers.
  void WriteNumber(const Message& message, const FieldDescriptor& field) {
    const Reflection& reflection = *message.GetReflection();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_BOOL:
        out_ << reflection.GetBool(message, &field);
        return;
      case FieldDescriptor::CPPTYPE_INT32:
        out_ << reflection.GetInt32(message, &field);
        return;
      case FieldDescriptor::CPPTYPE_INT64:
        out_ << reflection.GetInt64(message, &field);
        return;
      case FieldDescriptor::CPPTYPE_UINT32:
        out_ << reflection.GetUInt32(message, &field);
        return;
      default:
        out_ << absl::StrFormat("0x%x", reflection.GetUInt64(message, &field));
    }
  }

  YAML::Emitter out_;
};

}  // namespace

std::string ToJson(const Message& message, absl::string_view kind) {
  return Json(message, kind, true);
}

std::string ToJsonLine(const Message& message, absl::string_view kind) {
  return Json(message, kind, false);
}

std::string ToYaml(const Message& message, absl::string_view kind) {
  return YamlWriter().Write(message, kind);
}

}  // namespace nestor::cli
