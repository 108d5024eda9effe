// Reads a PCI function's configuration space.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace nestor::agent {

// Bits of the PASIDs that a function can send, from its PASID capability (PCI Express Base
// Specification, 7.8.9). 0: it has none. Unset: `config` is only the 64 bytes that sysfs
// shows to the unprivileged. Any bytes may be given: no walk leaves them or runs for ever.
std::optional<uint32_t> ParsePasidBits(absl::string_view config);

}  // namespace nestor::agent
