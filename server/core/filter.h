// The filter language of the List methods: terms `key=value` or `key!=value` joined by AND.
#pragma once

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/map.h"

namespace nestor::server {

// What a list can be filtered by.
struct FilterKeys {
  std::vector<absl::string_view> keys;                       // besides `label.{key}`
  bool labels = true;                                        // whether there are labels
  const google::protobuf::EnumDescriptor* states = nullptr;  // values of the key `state`
};

// Not thread-safe; reading is.
class Filter {
 public:
  using Labels = google::protobuf::Map<std::string, std::string>;
  // The value of one of FilterKeys::keys. A host is an id; `host=hosts/h1` is taken as well.
  using Lookup = absl::FunctionRef<std::string(absl::string_view key)>;

  // INVALID_ARGUMENT: `text` has more than 2 KiB or 32 terms, a term that is none, a key that
  // is not in `keys`, or a state that there is not. Its message says where.
  static absl::StatusOr<Filter> Parse(absl::string_view text, const FilterKeys& keys);

  // A label that a resource does not have compares as the empty text.
  bool Matches(const Labels& labels, Lookup lookup) const;

 private:
  struct Term {
    std::string key;
    bool equal = true;
    std::string value;
  };

  static absl::StatusOr<Term> ParseTerm(absl::string_view text, const FilterKeys& keys);
  std::vector<Term> terms_;
};

// The value of an enumeration as filters and people write it: STATE_READY -> READY.
std::string ShortStateName(const google::protobuf::EnumDescriptor& states, int value);

}  // namespace nestor::server
