// The API's filter from a command line's options.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/names.h"

namespace nestor::cli {

// What a list is narrowed by; an empty value is no condition.
struct ListConditions {
  std::string host;
  std::string state;
  std::string device;
  // `KEY=VALUE` or `KEY!=VALUE`, several by commas.
  std::vector<std::string> selectors;
  // A filter of the API as it is.
  std::string filter;
};

// Every state of any kind as `--state` takes it, as "{connected,failed,...}".
std::string StateChoices();

// The conditions joined by AND. INVALID_ARGUMENT for a condition that `kind` does not have,
// an unknown state or a malformed selector.
absl::StatusOr<std::string> ListFilter(Kind kind, const ListConditions& conditions);

}  // namespace nestor::cli
