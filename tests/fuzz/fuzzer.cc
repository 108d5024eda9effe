// Joins libFuzzer to one target: NESTOR_FUZZ_TARGET names its function.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/fuzz_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  nestor::fuzz::NESTOR_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
