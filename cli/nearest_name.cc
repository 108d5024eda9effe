#include "cli/nearest_name.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace nestor::cli {
namespace {

// Longer than any known word; a bound on the work for a hostile one.
constexpr size_t kMaxWordLength = 64;

std::string Normalize(absl::string_view word) {
  std::string normal = absl::AsciiStrToLower(word);
  normal.erase(
      std::remove_if(normal.begin(), normal.end(), [](char c) { return c == '_' || c == '-'; }),
      normal.end());
  return normal;
}

// Levenshtein distance.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string NearestName(absl::string_view word, const std::vector<std::string>& known) {
  if (word.size() > kMaxWordLength) return "";
  const std::string normal = Normalize(word);
  std::string nearest;
  size_t nearest_distance = std::max<size_t>(2, normal.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const std::string other = Normalize(candidate);
    const size_t distance = EditDistance(normal, other);
    if (distance < nearest_distance && distance < other.size()) {
      nearest = candidate;
      nearest_distance = distance;
    }
  }
  return nearest;
}

std::string Suggestion(absl::string_view word, const std::vector<std::string>& known) {
  const std::string nearest = NearestName(word, known);
  if (!nearest.empty()) return absl::StrCat("; did you mean \"", nearest, "\"?");
  return absl::StrCat("; known are ", absl::StrJoin(known, ", "));
}

}  // namespace nestor::cli
