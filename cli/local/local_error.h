// Errors of an agent's local API for people.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace nestor::cli {

// The text for a failed call to the agent at `address`, several lines; `action` is what was
// tried, e.g. "bind PASID 7".
std::string LocalErrorText(absl::string_view action, const absl::Status& status,
                           absl::string_view address);

}  // namespace nestor::cli
