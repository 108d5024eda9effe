#include "server/core/pasid_index.h"

#include <algorithm>
#include <utility>

namespace nestor::server {

void PasidIndex::Insert(absl::string_view bdf, uint32_t pasid, ClaimRecord claim) {
  pasids_[pasid].insert_or_assign(std::string(bdf), std::move(claim));
}

void PasidIndex::Erase(absl::string_view bdf, uint32_t pasid) {
  auto holders = pasids_.find(pasid);
  if (holders == pasids_.end()) return;
  if (auto it = holders->second.find(bdf); it != holders->second.end()) holders->second.erase(it);
  if (holders->second.empty()) pasids_.erase(holders);
}

ClaimRecord PasidIndex::Find(absl::string_view bdf, uint32_t pasid) const {
  auto holders = pasids_.find(pasid);
  if (holders == pasids_.end()) return {};
  auto it = holders->second.find(bdf);
  return it != holders->second.end() ? it->second : ClaimRecord();
}

bool PasidIndex::Has(absl::string_view bdf, uint32_t pasid) const {
  auto holders = pasids_.find(pasid);
  return holders != pasids_.end() && holders->second.find(bdf) != holders->second.end();
}

uint32_t PasidIndex::NextFree(absl::string_view bdf, uint32_t first,
                              const PasidIndex& released) const {
  for (auto it = pasids_.lower_bound(first); it != pasids_.end() && it->first == first; ++it) {
    const bool held = std::any_of(it->second.begin(), it->second.end(), [&](const auto& holder) {
      return (bdf.empty() || holder.first == bdf) && !released.Has(holder.first, it->first);
    });
    if (!held) break;
    ++first;
  }
  return first;
}

}  // namespace nestor::server
