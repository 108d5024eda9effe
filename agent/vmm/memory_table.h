// Which pieces of guest memory a monitor has handed over for one device.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace nestor::agent {

// A piece of guest memory.
struct MemoryPiece {
  uint64_t address = 0;  // guest physical, 4 KiB aligned
  uint64_t size = 0;     // bytes, a multiple of 4 KiB
  // Whether the shim was given it. Read-only pieces and those without a descriptor
  // (firmware, other devices' BARs) are only remembered.
  bool mapped = false;
  bool operator==(const MemoryPiece&) const = default;
};

// The pieces of one device, which never overlap. Pure; not thread-safe.
class MemoryTable {
 public:
  // Whether `piece` may be added. INVALID_ARGUMENT: unaligned, empty or past the end of
  // the address space. ALREADY_EXISTS: overlaps. RESOURCE_EXHAUSTED: the table is full.
  absl::Status Check(const MemoryPiece& piece) const;
  // Adds a piece that Check found good.
  void Add(const MemoryPiece& piece);
  // The pieces inside [address, address + size), in order; none is fine, since monitors
  // unmap ranges that they never mapped. INVALID_ARGUMENT: `size` is 0 or too large, or
  // the range cuts a piece.
  absl::StatusOr<std::vector<MemoryPiece>> Within(uint64_t address, uint64_t size) const;
  // Every piece, in order.
  std::vector<MemoryPiece> All() const;
  // Forgets the piece that begins at `address`.
  void Remove(uint64_t address);

 private:
  // The first piece that ends after `address`.
  std::map<uint64_t, MemoryPiece>::const_iterator FirstEndingAfter(uint64_t address) const;

  std::map<uint64_t, MemoryPiece> pieces_;  // by address
};

}  // namespace nestor::agent
