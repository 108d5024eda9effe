#include "agent/kernel/sim_stage2.h"

#include <algorithm>
#include <iterator>

namespace nestor::kernel {

void SimStage2::Map(uint64_t guest_address, const Range& range) {
  ranges_.emplace(guest_address, range);
  end_ = std::max(end_, guest_address + range.size);
}

std::optional<SimStage2Result> SimStage2::Translate(uint64_t guest_address) const {
  const auto next = ranges_.upper_bound(guest_address);
  if (next == ranges_.begin()) return std::nullopt;
  const auto& [begin, range] = *std::prev(next);
  const uint64_t offset = guest_address - begin;
  if (offset >= range.size) return std::nullopt;
  return SimStage2Result{range.host_address + offset, range.writable, range.readable};
}

}  // namespace nestor::kernel
