// The IOTLB: translations that a walk found, kept until they are invalidated.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>

#include "agent/kernel/sim_stage1.h"

namespace nestor::kernel {

// Tagged by device, PASID and 4 KiB page. Nothing is dropped before it must be, except all
// at once when it is full, so a guest that forgets to invalidate is found out. Not
// thread-safe.
class SimIotlb {
 public:
  static constexpr size_t kCapacity = 4096;

  // Null where nothing is kept. Valid until the next change.
  const SimTranslation* Find(int device, uint32_t pasid, uint64_t address) const;
  void Insert(int device, uint32_t pasid, uint64_t address, const SimTranslation& translation);

  void DropDevice(int device);
  void DropPasid(int device, uint32_t pasid);
  // What is part of a stage-1 page that touches [first, last].
  void DropRange(int device, uint32_t pasid, uint64_t first, uint64_t last);

  int size() const { return static_cast<int>(entries_.size()); }

 private:
  using Key = std::tuple<int, uint32_t, uint64_t>;  // device, PASID, page number
  std::map<Key, SimTranslation> entries_;
};

}  // namespace nestor::kernel
