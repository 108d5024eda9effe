#include "agent/vfio/pci_capability.h"

#include <cstddef>

namespace nestor::agent {
namespace {

// Conventional configuration space; the extended capabilities begin behind it.
constexpr size_t kConventionalSize = 256;
constexpr uint32_t kPasidCapabilityId = 0x1b;
// As many as fit when each takes 8 bytes; a longer walk is a loop.
constexpr int kMaxCapabilities = (4096 - 256) / 8;

// The little-endian word there; 0 beyond the end.
uint32_t ReadWord(absl::string_view config, size_t offset) {
  if (offset + 4 > config.size()) return 0;
  uint32_t word = 0;
  for (size_t byte = 4; byte > 0; --byte) {
    word = word << 8 | static_cast<uint8_t>(config[offset + byte - 1]);
  }
  return word;
}

}  // namespace

std::optional<uint32_t> ParsePasidBits(absl::string_view config) {
  if (config.size() < kConventionalSize) return std::nullopt;
  size_t offset = kConventionalSize;
  for (int count = 0; count < kMaxCapabilities && offset >= kConventionalSize; ++count) {
    const uint32_t header = ReadWord(config, offset);
    if ((header & 0xffff) == kPasidCapabilityId) {
      return ReadWord(config, offset + 4) >> 8 & 0x1f;  // Max PASID Width
    }
    offset = header >> 20;
  }
  return 0;
}

}  // namespace nestor::agent
