// What an owner process of a virtual machine costs a host.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace nestor::bench {

// Bytes of memory that one of several idle nestor-shim processes has for itself, which it would
// free if it ended. Sockets and logs go to `directory`.
absl::StatusOr<int64_t> MeasureShimMemory(const std::string& directory);

}  // namespace nestor::bench
