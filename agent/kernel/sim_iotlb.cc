#include "agent/kernel/sim_iotlb.h"

#include <iterator>

namespace nestor::kernel {
namespace {

constexpr uint64_t kPageSize = 4096;
constexpr uint64_t kLastPage = ~uint64_t{0} / kPageSize;

}  // namespace

const SimTranslation* SimIotlb::Find(int device, uint32_t pasid, uint64_t address) const {
  const auto found = entries_.find({device, pasid, address / kPageSize});
  return found == entries_.end() ? nullptr : &found->second;
}

void SimIotlb::Insert(int device, uint32_t pasid, uint64_t address,
                      const SimTranslation& translation) {
  if (entries_.size() >= kCapacity) entries_.clear();
  entries_.insert_or_assign({device, pasid, address / kPageSize}, translation);
}

void SimIotlb::DropDevice(int device) {
  entries_.erase(entries_.lower_bound({device, 0, 0}), entries_.lower_bound({device + 1, 0, 0}));
}

void SimIotlb::DropPasid(int device, uint32_t pasid) {
  entries_.erase(entries_.lower_bound({device, pasid, 0}),
                 entries_.upper_bound({device, pasid, kLastPage}));
}

void SimIotlb::DropRange(int device, uint32_t pasid, uint64_t first, uint64_t last) {
  const auto end = entries_.upper_bound({device, pasid, kLastPage});
  for (auto entry = entries_.lower_bound({device, pasid, 0}); entry != end;) {
    const SimTranslation& kept = entry->second;
    const bool touches =
        kept.stage1_page <= last && kept.stage1_page + (kept.stage1_page_size - 1) >= first;
    entry = touches ? entries_.erase(entry) : std::next(entry);
  }
}

}  // namespace nestor::kernel
