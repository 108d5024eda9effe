#include "server/core/filter.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"

namespace nestor::server {
namespace {

constexpr size_t kMaxLength = 2048;
constexpr size_t kMaxTerms = 32;
constexpr absl::string_view kLabel = "label.";
constexpr absl::string_view kState = "state";
constexpr absl::string_view kHost = "host";

// What names, states, PCI addresses, labels and their keys are made of.
bool IsValueCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
         absl::string_view("._:/-").find(c) != absl::string_view::npos;
}

absl::Status CheckState(absl::string_view state, const google::protobuf::EnumDescriptor& states) {
  std::vector<std::string> known;
  // The first value, UNSPECIFIED, is never shown.
  for (int i = 1; i < states.value_count(); ++i) {
    known.push_back(ShortStateName(states, states.value(i)->number()));
    if (state == known.back()) return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", Printable(state), "\" is no state; states are ", absl::StrJoin(known, ", ")));
}

absl::Status CheckKey(absl::string_view key, const FilterKeys& keys) {
  if (keys.labels && absl::StartsWith(key, kLabel) && key.size() > kLabel.size() &&
      std::all_of(key.begin(), key.end(), IsValueCharacter)) {
    return absl::OkStatus();
  }
  if (std::find(keys.keys.begin(), keys.keys.end(), key) != keys.keys.end()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("\"", Printable(key), "\" is not one of ",
                                                 absl::StrJoin(keys.keys, ", "),
                                                 keys.labels ? ", label.KEY" : ""));
}

}  // namespace

absl::StatusOr<Filter> Filter::Parse(absl::string_view text, const FilterKeys& keys) {
  Filter filter;
  if (text.size() > kMaxLength) {
    return absl::InvalidArgumentError("a filter has at most 2048 characters");
  }
  if (absl::StripAsciiWhitespace(text).empty()) return filter;
  for (absl::string_view part : absl::StrSplit(text, " AND ")) {
    if (filter.terms_.size() == kMaxTerms) {
      return absl::InvalidArgumentError("a filter has at most 32 terms");
    }
    ASSIGN_OR_RETURN(Term term, ParseTerm(absl::StripAsciiWhitespace(part), keys));
    filter.terms_.push_back(std::move(term));
  }
  return filter;
}

absl::StatusOr<Filter::Term> Filter::ParseTerm(absl::string_view text, const FilterKeys& keys) {
  const size_t equal = text.find('=');
  if (equal == absl::string_view::npos || equal == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", Printable(text), "\" is not KEY=VALUE or KEY!=VALUE"));
  }
  const bool negated = text[equal - 1] == '!';
  Term term{std::string(absl::StripAsciiWhitespace(text.substr(0, negated ? equal - 1 : equal))),
            !negated, std::string(absl::StripAsciiWhitespace(text.substr(equal + 1)))};
  RETURN_IF_ERROR(CheckKey(term.key, keys));
  if (!std::all_of(term.value.begin(), term.value.end(), IsValueCharacter)) {
    return absl::InvalidArgumentError(
        absl::StrCat("value \"", Printable(term.value),
                     "\" holds a character that no value has; join terms by AND"));
  }
  if (term.key == kHost) term.value = std::string(absl::StripPrefix(term.value, "hosts/"));
  if (term.key == kState) RETURN_IF_ERROR(CheckState(term.value, *keys.states));
  return term;
}

bool Filter::Matches(const Labels& labels, Lookup lookup) const {
  return std::all_of(terms_.begin(), terms_.end(), [&](const Term& term) {
    absl::string_view key = term.key;
    if (!absl::ConsumePrefix(&key, kLabel)) return (lookup(key) == term.value) == term.equal;
    auto it = labels.find(std::string(key));
    const absl::string_view value = it != labels.end() ? it->second : absl::string_view();
    return (value == term.value) == term.equal;
  });
}

std::string ShortStateName(const google::protobuf::EnumDescriptor& states, int value) {
  const auto* descriptor = states.FindValueByNumber(value);
  if (descriptor == nullptr) return absl::StrCat(value);
  return std::string(absl::StripPrefix(descriptor->name(), "STATE_"));
}

}  // namespace nestor::server
