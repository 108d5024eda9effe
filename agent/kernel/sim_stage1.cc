#include "agent/kernel/sim_stage1.h"

#include <optional>
#include <vector>

namespace nestor::kernel {
namespace {

constexpr uint64_t kPageSize = 4096;

// Bits of an entry: Intel VT-d specification, 9.7 and 9.8.
constexpr uint64_t kPresent = 1 << 0;
constexpr uint64_t kWritable = 1 << 1;
constexpr uint64_t kUser = 1 << 2;
constexpr uint64_t kAccessed = 1 << 5;
constexpr uint64_t kDirty = 1 << 6;
constexpr uint64_t kLargePage = 1 << 7;
constexpr uint64_t kExtendedAccessed = 1 << 10;
constexpr uint64_t kAddressMask = 0x000f'ffff'ffff'f000;
// Of a large page's address, the bit that is its memory type.
constexpr uint64_t kLargePageType = 1 << 12;

// Levels count from 1, the table of 4 KiB pages.
uint64_t BytesMappedAt(int level) { return kPageSize << (9 * (level - 1)); }

bool IsCanonical(uint64_t address, uint32_t width) {
  const auto extended = static_cast<int64_t>(address << (64 - width)) >> (64 - width);
  return static_cast<uint64_t>(extended) == address;
}

bool IsLeaf(uint64_t entry, int level) { return level == 1 || (entry & kLargePage) != 0; }

bool HasReservedBits(const SimIommuProperties& iommu, uint64_t entry, int level) {
  if (level == 1 || (entry & kLargePage) == 0) return false;
  if (level > 3 || (level == 3 && !iommu.first_level_1gib_pages)) return true;
  return (entry & kAddressMask & (BytesMappedAt(level) - 1) & ~kLargePageType) != 0;
}

class Walk {
 public:
  Walk(const SimIommuProperties& iommu, const SimPhysicalMemory& memory, const SimStage2& stage2,
       const SimStage1& stage1, uint64_t address, const SimAccess& access)
      : iommu_(iommu),
        memory_(memory),
        stage2_(stage2),
        stage1_(stage1),
        address_(address),
        access_(access) {}

  SimWalkResult Run() {
    if (access_.privileged && !stage1_.supervisor_request) {
      return SimTranslationFault{uapi::IOMMU_FAULT_REASON_PERMISSION};
    }
    if (!IsCanonical(address_, stage1_.address_width)) {
      return SimTranslationFault{uapi::IOMMU_FAULT_REASON_PTE_FETCH};
    }
    if (!Descend() || !CheckRights() || !TranslateLeaf() || !MarkEntries()) return *fault_;
    return translation_;
  }

 private:
  // An entry that the walk went through.
  struct Entry {
    uint64_t guest_address = 0;
    SimStage2Result place;
    uint64_t value = 0;
  };

  bool Fail(uint32_t reason, uint64_t fetch_address) {
    fault_ = SimTranslationFault{reason, fetch_address};
    return false;
  }

  // From the root to the leaf.
  bool Descend() {
    uint64_t table = stage1_.root;
    for (int level = stage1_.address_width == 57 ? 5 : 4;; --level) {
      const uint64_t index = address_ / BytesMappedAt(level) % 512;
      if (!Fetch(table + index * sizeof(uint64_t), level)) return false;
      const uint64_t entry = entries_.back().value;
      if (IsLeaf(entry, level)) {
        translation_.stage1_page_size = BytesMappedAt(level);
        return true;
      }
      table = entry & kAddressMask;
    }
  }

  bool Fetch(uint64_t guest_address, int level) {
    Entry entry;
    entry.guest_address = guest_address;
    const auto place = stage2_.Translate(guest_address);
    if (!place || !place->readable || !memory_.Read(place->host_address, &entry.value, 8)) {
      return Fail(uapi::IOMMU_FAULT_REASON_WALK_EABT, guest_address);
    }
    if ((entry.value & kPresent) == 0 || HasReservedBits(iommu_, entry.value, level)) {
      return Fail(uapi::IOMMU_FAULT_REASON_PTE_FETCH, guest_address);
    }
    entry.place = *place;
    entries_.push_back(entry);
    return true;
  }

  bool CheckRights() {
    uint64_t rights = kWritable | kUser;
    for (const Entry& entry : entries_) rights &= entry.value;
    translation_.write_allowed = (rights & kWritable) != 0;
    translation_.user = (rights & kUser) != 0;
    translation_.write_protect = stage1_.write_protect;
    const bool write_protected = translation_.write_protect && !translation_.write_allowed;
    if (access_.privileged && !(access_.write && write_protected)) return true;
    if (!access_.privileged && translation_.user && (translation_.write_allowed || !access_.write))
      return true;
    return Fail(uapi::IOMMU_FAULT_REASON_PERMISSION, entries_.back().guest_address);
  }

  bool TranslateLeaf() {
    const uint64_t page_mask = translation_.stage1_page_size - 1;
    const uint64_t frame = entries_.back().value & kAddressMask & ~page_mask;
    const auto result = stage2_.Translate(frame | (address_ & page_mask & ~(kPageSize - 1)));
    if (!result) return Fail(uapi::IOMMU_FAULT_REASON_OOR_ADDRESS, 0);
    if (access_.write ? !result->writable : !result->readable) {
      return Fail(uapi::IOMMU_FAULT_REASON_PERMISSION, 0);
    }
    translation_.host_page = result->host_address;
    translation_.readable = result->readable;
    translation_.writable = result->writable;
    translation_.stage1_page = address_ & ~page_mask;
    return true;
  }

  bool MarkEntries() {
    uint64_t marks = kAccessed | (stage1_.extended_accessed_flag ? kExtendedAccessed : 0);
    for (Entry& entry : entries_) {
      if (&entry == &entries_.back() && access_.write) marks |= kDirty;
      if (!Mark(entry, marks)) return false;
    }
    translation_.dirty = (entries_.back().value & kDirty) != 0;
    return true;
  }

  // Writes only the bytes that change, so that what the guest does to the rest is not lost.
  bool Mark(Entry& entry, uint64_t marks) {
    const uint64_t marked = entry.value | marks;
    for (int byte = 0; byte < 2; ++byte) {
      const auto value = static_cast<uint8_t>(marked >> (8 * byte));
      if (value == static_cast<uint8_t>(entry.value >> (8 * byte))) continue;
      if (!entry.place.writable || !memory_.Write(entry.place.host_address + byte, &value, 1)) {
        return Fail(uapi::IOMMU_FAULT_REASON_WALK_EABT, entry.guest_address);
      }
    }
    entry.value = marked;
    return true;
  }

  const SimIommuProperties& iommu_;
  const SimPhysicalMemory& memory_;
  const SimStage2& stage2_;
  const SimStage1& stage1_;
  const uint64_t address_;
  const SimAccess access_;
  std::vector<Entry> entries_;
  SimTranslation translation_;
  std::optional<SimTranslationFault> fault_;
};

}  // namespace

bool SimTranslation::Serves(const SimAccess& access) const {
  if (access.write && (!writable || !dirty)) return false;
  if (!access.write && !readable) return false;
  if (access.privileged) return !access.write || !write_protect || write_allowed;
  return user && (write_allowed || !access.write);
}

SimWalkResult WalkStage1(const SimIommuProperties& iommu, const SimPhysicalMemory& memory,
                         const SimStage2& stage2, const SimStage1& stage1, uint64_t address,
                         const SimAccess& access) {
  return Walk(iommu, memory, stage2, stage1, address, access).Run();
}

}  // namespace nestor::kernel
