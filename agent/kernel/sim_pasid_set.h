// The PASIDs of the system and their owners, one set per process address space.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>

namespace nestor::kernel {

class SimPasidAllocator;

// The PASIDs of one process, kept by the nesting containers that it set up: the series'
// vfio_mm. When the last of them goes, all PASIDs are freed and the quota is given back. Not
// thread-safe.
class SimPasidSet {
 public:
  SimPasidSet(SimPasidAllocator& allocator, int address_space)
      : allocator_(allocator), address_space_(address_space) {}
  ~SimPasidSet();
  SimPasidSet(const SimPasidSet&) = delete;
  SimPasidSet& operator=(const SimPasidSet&) = delete;

  // The lowest PASID in [min, max] that nobody has. -ENOSPC: there is none, or the quota is
  // used up.
  int Allocate(uint32_t min, uint32_t max);
  // Frees those of the set in [min, max], if any; a bound one is unbound everywhere first.
  void Free(uint32_t min, uint32_t max);
  const std::set<uint32_t>& pasids() const { return pasids_; }

 private:
  friend class SimPasidAllocator;
  SimPasidAllocator& allocator_;
  const int address_space_;
  std::set<uint32_t> pasids_;
};

// Not thread-safe.
class SimPasidAllocator {
 public:
  // `quota`: PASIDs that each set reserves out of `capacity`. `unbind` is called with each
  // PASID before it is free again.
  SimPasidAllocator(uint32_t quota, uint32_t capacity, std::function<void(uint32_t)> unbind)
      : quota_(quota), capacity_(capacity), unbind_(std::move(unbind)) {}

  // The set of an address space, made if it has none; null: the capacity is all reserved.
  std::shared_ptr<SimPasidSet> GetSet(int address_space);
  // The owner of a PASID; null: it is free.
  const SimPasidSet* Owner(uint32_t pasid) const;

  int sets() const { return static_cast<int>(sets_.size()); }
  int pasids() const { return static_cast<int>(owners_.size()); }

 private:
  friend class SimPasidSet;
  const uint32_t quota_;
  const uint32_t capacity_;
  const std::function<void(uint32_t)> unbind_;
  std::map<int, std::weak_ptr<SimPasidSet>> sets_;  // by address space; never expired
  std::map<uint32_t, SimPasidSet*> owners_;
};

}  // namespace nestor::kernel
