// The "did you mean" of messages about unknown words.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace nestor::cli {

// The one of `known` that `word` most likely misspells, regardless of case and of '_' and
// '-'; empty when none is near.
std::string NearestName(absl::string_view word, const std::vector<std::string>& known);

// `; did you mean "X"?`, or where nothing is near `; known are A, B, C`.
std::string Suggestion(absl::string_view word, const std::vector<std::string>& known);

}  // namespace nestor::cli
