// Stage 2: guest physical to host physical addresses, one table per IOMMU domain.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace nestor::kernel {

// What a guest physical address leads to.
struct SimStage2Result {
  uint64_t host_address = 0;
  bool writable = false;
  bool readable = false;
};

// Ranges that do not overlap. Not thread-safe.
class SimStage2 {
 public:
  struct Range {
    uint64_t size = 0;
    uint64_t host_address = 0;
    bool readable = false;
    bool writable = false;
  };

  // The caller has made sure that nothing is mapped there.
  void Map(uint64_t guest_address, const Range& range);
  // Takes out the range that begins there.
  void Unmap(uint64_t guest_address) { ranges_.erase(guest_address); }

  std::optional<SimStage2Result> Translate(uint64_t guest_address) const;
  // The first address behind the highest range that was ever mapped. Like the kernel's it
  // knows of no holes.
  uint64_t end() const { return end_; }

 private:
  std::map<uint64_t, Range> ranges_;  // by guest address
  uint64_t end_ = 0;
};

}  // namespace nestor::kernel
