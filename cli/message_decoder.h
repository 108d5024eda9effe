// Fills an API message from YAML, guided by the message's own description.
//
// Keys are the fields' names in the API's JSON form (`pageTable`). Unknown keys and wrong
// types are refused with their place. Integers may be hexadecimal (0x...) and quoted;
// enumeration values may leave out their prefix (`VTD_S1`). What only the server writes
// (`status`, and `metadata` but for `labels`) is skipped, so that what `get -o yaml`
// printed can be applied.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "cli/yaml_tree.h"

namespace nestor::cli {

// Fills `message` from the mapping `value`; keys in `other_keys` are the caller's and
// skipped. INVALID_ARGUMENT with file:line:column otherwise.
absl::Status DecodeMessage(const YamlValue& value, absl::string_view file,
                           const std::vector<std::string>& other_keys,
                           google::protobuf::Message* message);

}  // namespace nestor::cli
