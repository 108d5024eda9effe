#include "server/core/pasid_index.h"

#include "absl/strings/str_cat.h"

namespace nestor::server {

std::optional<uint32_t> PasidIndex::NumberOf(absl::string_view bdf) const {
  auto it = numbers_.find(bdf);
  if (it == numbers_.end()) return std::nullopt;
  return it->second;
}

void PasidIndex::Insert(absl::string_view bdf, uint32_t pasid, const ClaimRecord& claim) {
  const auto next = static_cast<uint32_t>(devices_.size());
  const auto [device, is_new_device] = numbers_.try_emplace(bdf, next);
  if (is_new_device) devices_.emplace_back(bdf);
  const absl::string_view holder = claim.holder;
  const size_t id = holder.rfind('/') + 1;  // 0 where there is no slash
  auto parent = parents_.find(holder.substr(0, id));
  if (parent == parents_.end())
    parent = parents_.try_emplace(std::string(holder.substr(0, id))).first;
  ++parent->second;
  const auto [it, is_new] = claims_.try_emplace({pasid, device->second});
  if (!is_new) ForgetHolder(it->second);
  it->second = {parent, std::string(holder.substr(id)), claim.revision};
}

void PasidIndex::Erase(absl::string_view bdf, uint32_t pasid) {
  const std::optional<uint32_t> device = NumberOf(bdf);
  if (!device) return;
  auto it = claims_.find({pasid, *device});
  if (it == claims_.end()) return;
  ForgetHolder(it->second);
  claims_.erase(it);
}

void PasidIndex::ForgetHolder(const Claim& claim) {
  if (--claim.parent->second == 0) parents_.erase(claim.parent);
}

ClaimRecord PasidIndex::Find(absl::string_view bdf, uint32_t pasid) const {
  const std::optional<uint32_t> device = NumberOf(bdf);
  if (!device) return {};
  auto it = claims_.find({pasid, *device});
  if (it == claims_.end()) return {};
  return {absl::StrCat(it->second.parent->first, it->second.id), it->second.revision};
}

bool PasidIndex::Has(absl::string_view bdf, uint32_t pasid) const {
  const std::optional<uint32_t> device = NumberOf(bdf);
  return device && claims_.contains({pasid, *device});
}

uint32_t PasidIndex::NextFree(absl::string_view bdf, uint32_t first,
                              const PasidIndex& released) const {
  const std::optional<uint32_t> device = NumberOf(bdf);
  if (!bdf.empty() && !device) return first;
  auto it = claims_.lower_bound({first, 0});
  while (true) {
    bool held = false;
    for (; it != claims_.end() && it->first.pasid == first; ++it) {
      held = held || ((!device || it->first.device == *device) &&
                      !released.Has(devices_[it->first.device], first));
    }
    if (!held) return first;
    ++first;
  }
}

}  // namespace nestor::server
