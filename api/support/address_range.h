// Checks the range of a request that drops cached translations.
#pragma once

#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "api/support/errors.h"
#include "nestor/v1/resources.pb.h"

namespace nestor {

// Adds what is wrong with `range`, which the request has at `field`.
inline void CheckAddressRange(const v1::AddressRange& range, absl::string_view field,
                              FieldViolations* violations) {
  if (range.size() == 0) {
    violations->Add(absl::StrCat(field, ".size"),
                    "must be at least 1; leave out the range for all");
  } else if (range.size() - 1 > std::numeric_limits<uint64_t>::max() - range.address()) {
    violations->Add(absl::StrCat(field, ".size"), "must not lead beyond 2^64");
  }
}

}  // namespace nestor
