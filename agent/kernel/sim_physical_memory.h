// Host physical memory: frames that stand for pinned pages of processes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "agent/kernel/shared_mapping.h"
#include "agent/kernel/user_memory.h"

namespace nestor::kernel {

// Gives pinned user memory synthetic host physical addresses and reaches it by them. Pages
// pinned in one call get frames that follow one another; no two pins share a frame, and an
// address that was unpinned is never given again. What another process maps shared from a file
// that it has open, as a guest's memory is, stays reachable when that process unmaps it or ends;
// its private pages go with it. Not thread-safe.
class SimPhysicalMemory {
 public:
  // The address of the first of the frames. `address` and `size`: multiples of 4 KiB.
  uint64_t Pin(const UserMemory& owner, uint64_t address, uint64_t size);
  // Gives back what Pin gave at `frame`.
  void Unpin(uint64_t frame);

  // Whether all was copied: it lies in one pin, whose pages are still there.
  [[nodiscard]] bool Read(uint64_t address, void* buffer, size_t size) const;
  [[nodiscard]] bool Write(uint64_t address, const void* buffer, size_t size) const;

  int pins() const { return static_cast<int>(pins_.size()); }

 private:
  struct PinnedRange {
    UserMemory owner;  // this process, where `pages` is set
    uint64_t address;
    uint64_t size;
    std::unique_ptr<SharedMapping> pages;  // null: they are its owner's alone
  };
  struct Location {
    const UserMemory* owner = nullptr;  // null: nothing is pinned there
    uint64_t address = 0;
  };
  Location Find(uint64_t address, size_t size) const;

  // Above the first 4 GiB, so that a guest physical address taken for a host's never works.
  uint64_t next_frame_ = uint64_t{1} << 32;
  std::map<uint64_t, PinnedRange> pins_;  // by address of the first frame
};

}  // namespace nestor::kernel
