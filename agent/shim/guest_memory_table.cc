#include "agent/shim/guest_memory_table.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

constexpr uint64_t kPageSize = 4096;

std::string Place(uint64_t guest_address, uint64_t size) {
  return absl::StrCat("guest memory at 0x", absl::Hex(guest_address), " of 0x", absl::Hex(size),
                      " bytes");
}

absl::Status CheckPlace(const MemoryRegion& region) {
  if (region.size != 0 && region.size % kPageSize == 0 && region.guest_address % kPageSize == 0 &&
      region.guest_address + (region.size - 1) >= region.guest_address) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(Place(region.guest_address, region.size),
                                                 " is empty, not 4 KiB aligned or too large"));
}

}  // namespace

absl::Status GuestMemoryTable::Add(const Bdf& device, const MemoryRegion& region) {
  return Insert(device, {region, true, absl::OkStatus()});
}

absl::Status GuestMemoryTable::Record(const Bdf& device, const MemoryRegion& region,
                                      absl::Status problem) {
  return Insert(device, {region, false, std::move(problem)});
}

absl::Status GuestMemoryTable::Insert(const Bdf& device, Entry entry) {
  RETURN_IF_ERROR(CheckPlace(entry.region));
  const uint64_t first = entry.region.guest_address;
  const uint64_t last = first + (entry.region.size - 1);
  auto& regions = regions_[device];
  // The one that begins last among those that begin at or before our end.
  auto other = regions.upper_bound(last);
  if (other != regions.begin()) {
    const MemoryRegion& before = std::prev(other)->second.region;
    if (before.guest_address + (before.size - 1) >= first) {
      return absl::AlreadyExistsError(absl::StrCat(Place(first, entry.region.size), " overlaps ",
                                                   Place(before.guest_address, before.size)));
    }
  }
  regions.emplace(first, std::move(entry));
  return absl::OkStatus();
}

absl::StatusOr<MemoryRegion> GuestMemoryTable::Remove(const Bdf& device, uint64_t guest_address,
                                                      uint64_t size) {
  auto& regions = regions_[device];
  const auto it = regions.find(guest_address);
  if (it == regions.end() || it->second.region.size != size) {
    return absl::NotFoundError(absl::StrCat("no ", Place(guest_address, size)));
  }
  const MemoryRegion region = it->second.region;
  regions.erase(it);
  return region;
}

std::set<MemoryRegion> GuestMemoryTable::Wanted(const Bdf& device) const {
  std::set<MemoryRegion> wanted;
  const auto regions = regions_.find(device);
  if (regions == regions_.end()) return wanted;
  for (const auto& [address, entry] : regions->second) {
    if (entry.wanted) wanted.insert(entry.region);
  }
  return wanted;
}

bool GuestMemoryTable::IsWanted(const Bdf& device, const MemoryRegion& region) const {
  const auto regions = regions_.find(device);
  if (regions == regions_.end()) return false;
  const auto entry = regions->second.find(region.guest_address);
  return entry != regions->second.end() && entry->second.wanted && entry->second.region == region;
}

absl::Status GuestMemoryTable::Problem() const {
  for (const auto& [device, regions] : regions_) {
    for (const auto& [address, entry] : regions) {
      if (!entry.problem.ok()) return entry.problem;
    }
  }
  return absl::OkStatus();
}

}  // namespace nestor::agent
