// Names for what is to be told apart for ever.
#pragma once

#include <string>

namespace nestor {

// A random UUID (RFC 4122, version 4) in lower case, from the kernel's generator. Thread-safe.
std::string NewUuid();

}  // namespace nestor
