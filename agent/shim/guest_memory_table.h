// The guest memory that monitors handed over, device by device.
#pragma once

#include <cstdint>
#include <map>
#include <set>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/host_state.h"

namespace nestor::agent {

// Regions of one device never overlap. Not thread-safe.
class GuestMemoryTable {
 public:
  // Adds a region that belongs into stage 2.
  // INVALID_ARGUMENT: empty, not 4 KiB aligned or past 2^64. ALREADY_EXISTS: overlaps.
  absl::Status Add(const Bdf& device, const MemoryRegion& region);
  // Adds one that is only remembered: read-only or without a descriptor (`problem` is OK),
  // or writable memory that this process could not map (why not). Errors as Add.
  absl::Status Record(const Bdf& device, const MemoryRegion& region, absl::Status problem);
  // Takes out the region of exactly that place. NOT_FOUND: there is none.
  absl::StatusOr<MemoryRegion> Remove(const Bdf& device, uint64_t guest_address, uint64_t size);
  void Clear(const Bdf& device) { regions_.erase(device); }

  // What belongs into the stage 2 of `device`.
  std::set<MemoryRegion> Wanted(const Bdf& device) const;
  bool IsWanted(const Bdf& device, const MemoryRegion& region) const;
  // The first problem of any device; OK where there is none.
  absl::Status Problem() const;

 private:
  struct Entry {
    MemoryRegion region;
    bool wanted = false;
    absl::Status problem;
  };
  absl::Status Insert(const Bdf& device, Entry entry);

  std::map<Bdf, std::map<uint64_t, Entry>> regions_;  // by guest address
};

}  // namespace nestor::agent
