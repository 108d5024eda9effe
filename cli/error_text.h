// Errors for people: what failed, which field, why, and what to do next.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace nestor::cli {

// Where a field that the server names is written, as "sva-4 at fleet.yaml:40"; empty where
// unknown.
using FieldLocator = std::function<std::string(absl::string_view field)>;

// The text for a failed call, several lines, ending with a newline. `action` is what was
// tried, e.g. "apply demo/web-1"; `server` the address dialled.
std::string ErrorText(absl::string_view action, const absl::Status& status,
                      absl::string_view server, const FieldLocator& locate = nullptr);

}  // namespace nestor::cli
