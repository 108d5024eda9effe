#include "agent/vmm/memory_table.h"

#include <iterator>

#include "absl/strings/str_format.h"
#include "agent/vmm/vfio_user_protocol.h"

namespace nestor::agent {
namespace {

constexpr uint64_t kPageSize = 4096;

// The last byte's address, which fits where the end may not.
uint64_t Last(const MemoryPiece& piece) { return piece.address + (piece.size - 1); }

absl::Status CheckRange(uint64_t address, uint64_t size) {
  if (size == 0 || address + (size - 1) < address) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%#x bytes at %#x: empty, or past the end of the address space", size, address));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status MemoryTable::Check(const MemoryPiece& piece) const {
  if (auto status = CheckRange(piece.address, piece.size); !status.ok()) return status;
  if (piece.address % kPageSize != 0 || piece.size % kPageSize != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%#x bytes at %#x: not whole 4 KiB pages", piece.size, piece.address));
  }
  const auto next = FirstEndingAfter(piece.address);
  if (next != pieces_.end() && next->first <= Last(piece)) {
    return absl::AlreadyExistsError(absl::StrFormat("%#x bytes at %#x overlap those at %#x",
                                                    piece.size, piece.address, next->first));
  }
  if (pieces_.size() >= vfio_user::kMaxDmaMaps) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("%d pieces of memory are mapped, the most there may be", pieces_.size()));
  }
  return absl::OkStatus();
}

void MemoryTable::Add(const MemoryPiece& piece) { pieces_[piece.address] = piece; }

absl::StatusOr<std::vector<MemoryPiece>> MemoryTable::Within(uint64_t address,
                                                             uint64_t size) const {
  if (auto status = CheckRange(address, size); !status.ok()) return status;
  const uint64_t last = address + (size - 1);
  std::vector<MemoryPiece> pieces;
  for (auto it = FirstEndingAfter(address); it != pieces_.end() && it->first <= last; ++it) {
    if (it->first < address || Last(it->second) > last) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%#x bytes at %#x would cut those at %#x", size, address, it->first));
    }
    pieces.push_back(it->second);
  }
  return pieces;
}

std::vector<MemoryPiece> MemoryTable::All() const {
  std::vector<MemoryPiece> pieces;
  for (const auto& [address, piece] : pieces_) pieces.push_back(piece);
  return pieces;
}

void MemoryTable::Remove(uint64_t address) { pieces_.erase(address); }

std::map<uint64_t, MemoryPiece>::const_iterator MemoryTable::FirstEndingAfter(
    uint64_t address) const {
  auto it = pieces_.upper_bound(address);
  if (it != pieces_.begin() && Last(std::prev(it)->second) >= address) --it;
  return it;
}

}  // namespace nestor::agent
