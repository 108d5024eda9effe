#include "agent/kernel/sim_ioas.h"

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <limits>
#include <utility>

#include "agent/kernel/sim_system.h"

namespace nestor::kernel {
namespace {

constexpr uint64_t kPageSize = 4096;
constexpr uint64_t kMaxIova = std::numeric_limits<uint64_t>::max();

}  // namespace

SimIoas::SimIoas(SimSystem& system) : system_(system) { ++system_.ioases; }

SimIoas::~SimIoas() { --system_.ioases; }

uint64_t SimIoas::alignment() const { return page_tables_ > 0 ? kPageSize : 1; }

std::vector<SimIovaRange> SimIoas::Reserved() const {
  const SimIommuProperties& iommu = system_.machine.iommu;
  std::vector<SimIovaRange> reserved;
  if (devices_ > 0) reserved = ReservedIovas(iommu);
  if (page_tables_ > 0) reserved.push_back({LastIova(iommu) + 1, kMaxIova});
  return reserved;
}

std::vector<SimIovaRange> SimIoas::Usable() const { return Remaining(kMaxIova, Reserved()); }

int SimIoas::Allow(std::vector<SimIovaRange> ranges) {
  for (const SimIovaRange& reserved : Reserved()) {
    for (const SimIovaRange& range : ranges) {
      if (Overlaps(range, reserved)) return -EADDRINUSE;
    }
  }
  allowed_ = std::move(ranges);
  return 0;
}

SimIoas::Areas::const_iterator SimIoas::FirstIn(const SimIovaRange& range) const {
  auto area = areas_.upper_bound(range.first);
  if (area != areas_.begin()) {
    const auto before = std::prev(area);
    if (range.first - before->first < before->second.length) return before;
  }
  return area != areas_.end() && area->first <= range.last ? area : areas_.end();
}

bool SimIoas::IsAligned(uint64_t iova, const Area& area, uint64_t alignment) const {
  const uint64_t start = area.pages->page_offset() + area.offset;
  return ((iova | area.length | start) & (alignment - 1)) == 0;
}

bool SimIoas::MustBeWritable() const {
  return nest_parents_ > 0 && system_.machine.iommu.hardware == SimIommuHardware::kVtd;
}

int SimIoas::CheckPlace(uint64_t iova, uint64_t length) const {
  if (length == 0) return -EINVAL;
  if (iova + (length - 1) < iova) return -EOVERFLOW;
  const SimIovaRange range = {iova, iova + (length - 1)};
  for (const SimIovaRange& reserved : Reserved()) {
    if (Overlaps(range, reserved)) return -EINVAL;
  }
  return HasAreaIn(range) ? -EEXIST : 0;
}

int SimIoas::CheckArea(const Area& area) const {
  if (area.rights.writable && !area.pages->writable()) return -EPERM;
  if (page_tables_ == 0) return 0;
  if (MustBeWritable() && !area.rights.writable) return -EINVAL;
  return area.pages->IsPresent() ? 0 : -EFAULT;
}

int SimIoas::Map(uint64_t iova, uint64_t length, std::shared_ptr<SimPinnedPages> pages,
                 Rights rights) {
  if (const int result = CheckPlace(iova, length); result != 0) return result;
  Area area = {.length = length, .pages = std::move(pages), .offset = 0, .rights = rights};
  if (!IsAligned(iova, area, alignment())) return -EINVAL;
  if (const int result = CheckArea(area); result != 0) return result;
  Insert(iova, std::move(area));
  return 0;
}

int SimIoas::Copy(uint64_t iova, uint64_t length, const SimIoas& source, uint64_t source_iova,
                  Rights rights) {
  if (length == 0) return -EINVAL;
  if (source_iova + (length - 1) < source_iova) return -EOVERFLOW;
  Areas parts;
  for (uint64_t done = 0; done < length;) {
    const uint64_t at = source_iova + done;
    const auto found = source.FirstIn({at, at});
    if (found == source.areas_.end()) return -ENOENT;
    const uint64_t skipped = at - found->first;
    Area part = found->second;
    part.offset += skipped;
    part.length = std::min(part.length - skipped, length - done);
    part.rights = rights;
    done += part.length;
    parts.emplace(iova + done - part.length, std::move(part));
  }
  if (const int result = CheckPlace(iova, length); result != 0) return result;
  for (const auto& [place, part] : parts) {
    if (!IsAligned(place, part, alignment())) return -EINVAL;
    if (const int result = CheckArea(part); result != 0) return result;
  }
  for (auto& [place, part] : parts) Insert(place, std::move(part));
  return 0;
}

void SimIoas::Insert(uint64_t iova, Area area) {
  stage2_.Map(iova, {.size = area.length,
                     .host_address = area.pages->host_address() + area.offset,
                     .readable = area.rights.readable,
                     .writable = area.rights.writable});
  areas_.emplace(iova, std::move(area));
}

int SimIoas::ChooseIova(uint64_t length, uint64_t* iova) const {
  if (length == 0) return -EINVAL;
  std::vector<SimIovaRange> taken = Reserved();
  for (const auto& [first, area] : areas_) taken.push_back({first, first + (area.length - 1)});
  if (!allowed_.empty()) {
    for (const SimIovaRange& range : Remaining(kMaxIova, allowed_)) taken.push_back(range);
  }
  for (const SimIovaRange& gap : Remaining(kMaxIova, std::move(taken))) {
    const uint64_t first = (gap.first + kPageSize - 1) & ~(kPageSize - 1);
    if (first < gap.first || first > gap.last || length - 1 > gap.last - first) continue;
    *iova = first;
    return 0;
  }
  return -ENOSPC;
}

int SimIoas::Unmap(uint64_t first, uint64_t last, uint64_t* unmapped) {
  *unmapped = 0;
  for (auto area = FirstIn({first, last}); area != areas_.end(); area = FirstIn({first, last})) {
    if (area->first < first || area->first + (area->second.length - 1) > last) return -ENOENT;
    *unmapped += area->second.length;
    stage2_.Unmap(area->first);
    system_.iommu.FlushDomain(stage2_);
    areas_.erase(area);
  }
  return *unmapped == 0 ? -ENOENT : 0;
}

int SimIoas::AddPageTable(bool is_nest_parent) {
  const uint64_t last = LastIova(system_.machine.iommu);
  if (HasAreaIn({last + 1, kMaxIova})) return -EADDRINUSE;
  for (const SimIovaRange& range : allowed_) {
    if (range.last > last) return -EADDRINUSE;
  }
  for (const auto& [iova, area] : areas_) {
    if (!IsAligned(iova, area, kPageSize)) return -EADDRINUSE;
  }
  ++page_tables_;
  nest_parents_ += is_nest_parent ? 1 : 0;
  for (const auto& [iova, area] : areas_) {
    if (const int result = CheckArea(area); result != 0) {
      RemovePageTable(is_nest_parent);
      return result;
    }
  }
  return 0;
}

void SimIoas::RemovePageTable(bool is_nest_parent) {
  --page_tables_;
  nest_parents_ -= is_nest_parent ? 1 : 0;
}

int SimIoas::AddDevice() {
  for (const SimIovaRange& reserved : ReservedIovas(system_.machine.iommu)) {
    if (HasAreaIn(reserved)) return -EADDRINUSE;
    for (const SimIovaRange& range : allowed_) {
      if (Overlaps(range, reserved)) return -EADDRINUSE;
    }
  }
  ++devices_;
  return 0;
}

bool SimIoas::HasProcessMemory() const {
  return std::any_of(areas_.begin(), areas_.end(),
                     [](const auto& area) { return !area.second.pages->is_file(); });
}

}  // namespace nestor::kernel
