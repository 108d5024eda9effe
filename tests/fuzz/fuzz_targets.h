// What is fuzzed: each function takes any bytes, and aborts where a promise is broken.
//
// tests/fuzz/README.md says how to run them and how to add one.
#pragma once

#include "absl/strings/string_view.h"

namespace nestor::fuzz {

void FuzzHostDecision(absl::string_view bytes);
void FuzzListQuery(absl::string_view bytes);
void FuzzManifest(absl::string_view bytes);
void FuzzResourceName(absl::string_view bytes);
void FuzzShimCore(absl::string_view bytes);
void FuzzSimKernel(absl::string_view bytes);
void FuzzStoredRow(absl::string_view bytes);
void FuzzVfioUser(absl::string_view bytes);

}  // namespace nestor::fuzz
