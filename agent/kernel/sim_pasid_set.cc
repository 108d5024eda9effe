#include "agent/kernel/sim_pasid_set.h"

#include <cerrno>

namespace nestor::kernel {

SimPasidSet::~SimPasidSet() {
  Free(0, UINT32_MAX);
  allocator_.sets_.erase(address_space_);
}

int SimPasidSet::Allocate(uint32_t min, uint32_t max) {
  if (pasids_.size() >= allocator_.quota_) return -ENOSPC;
  uint64_t candidate = min;
  for (auto taken = allocator_.owners_.lower_bound(min);
       taken != allocator_.owners_.end() && taken->first == candidate; ++taken) {
    ++candidate;
  }
  if (candidate > max) return -ENOSPC;
  const auto pasid = static_cast<uint32_t>(candidate);
  pasids_.insert(pasid);
  allocator_.owners_.emplace(pasid, this);
  return static_cast<int>(pasid);
}

void SimPasidSet::Free(uint32_t min, uint32_t max) {
  const auto first = pasids_.lower_bound(min);
  const auto last = pasids_.upper_bound(max);
  for (auto pasid = first; pasid != last; ++pasid) {
    allocator_.unbind_(*pasid);
    allocator_.owners_.erase(*pasid);
  }
  pasids_.erase(first, last);
}

std::shared_ptr<SimPasidSet> SimPasidAllocator::GetSet(int address_space) {
  if (const auto found = sets_.find(address_space); found != sets_.end()) {
    return found->second.lock();
  }
  if ((sets_.size() + 1) * uint64_t{quota_} > capacity_) return nullptr;
  auto set = std::make_shared<SimPasidSet>(*this, address_space);
  sets_.emplace(address_space, set);
  return set;
}

const SimPasidSet* SimPasidAllocator::Owner(uint32_t pasid) const {
  const auto found = owners_.find(pasid);
  return found == owners_.end() ? nullptr : found->second;
}

}  // namespace nestor::kernel
