// Resources as JSON and YAML documents.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "absl/strings/string_view.h"

namespace nestor::cli {

// The message in the standard JSON form of Protocol Buffers (64-bit numbers are strings),
// indented, with `kind` first unless empty; ends without a newline.
std::string ToJson(const google::protobuf::Message& message, absl::string_view kind);

// The same in one line.
std::string ToJsonLine(const google::protobuf::Message& message, absl::string_view kind);

// The message as the YAML that manifests are written in: as ToJson, but for addresses
// (fixed64) in hexadecimal and enumeration values without their prefix. Ends with a newline.
std::string ToYaml(const google::protobuf::Message& message, absl::string_view kind);

}  // namespace nestor::cli
