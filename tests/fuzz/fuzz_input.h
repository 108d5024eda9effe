// The bytes of one fuzzing input, taken apart from the front.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"

// Ends the program where `condition` does not hold: the input that led there is the finding.
#define FUZZ_CHECK(condition)                                                             \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (false)

namespace nestor::fuzz {

// Past the end everything is zero or empty, so that any bytes are a valid input. Not
// thread-safe.
class FuzzInput {
 public:
  // `bytes` must outlive this.
  explicit FuzzInput(absl::string_view bytes) : bytes_(bytes) {}

  bool empty() const { return bytes_.empty(); }
  bool Bool() { return (Number<uint8_t>() & 1) != 0; }
  // One byte as a number in [0, limit).
  size_t Below(size_t limit) { return Number<uint8_t>() % limit; }
  // Little endian.
  template <typename T>
  T Number() {
    uint64_t number = 0;
    const absl::string_view bytes = Bytes(sizeof(T));
    for (size_t i = 0; i < bytes.size(); ++i) {
      number |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
    }
    return static_cast<T>(number);
  }
  // At most `count`, fewer at the end.
  absl::string_view Bytes(size_t count) {
    const absl::string_view taken = bytes_.substr(0, count);
    bytes_.remove_prefix(taken.size());
    return taken;
  }
  // Two bytes of length, then the text.
  std::string Text() { return std::string(Bytes(Number<uint16_t>())); }
  // Up to the next line break, which goes too.
  std::string Line() {
    const absl::string_view line = bytes_.substr(0, bytes_.find('\n'));
    bytes_.remove_prefix(std::min(line.size() + 1, bytes_.size()));
    return std::string(line);
  }

 private:
  absl::string_view bytes_;
};

}  // namespace nestor::fuzz
