#include "tests/guest/page_table_builder.h"

#include <string>

#include "absl/strings/str_format.h"
#include "api/support/status_macros.h"

namespace nestor::guest {
namespace {

constexpr uint64_t kTableSize = 4096;
// Bits 51:12 of an entry; a large page's lower ones must be 0, which its alignment sees to.
constexpr uint64_t kAddressMask = 0x000f'ffff'ffff'f000;

// Levels count from 1, the table of 4 KiB pages.
int LeafLevel(PageSize size) {
  switch (size) {
    case PageSize::k4K:
      return 1;
    case PageSize::k2M:
      return 2;
    case PageSize::k1G:
      return 3;
  }
  return 1;
}

uint64_t EntryAddress(uint64_t table, int level, uint64_t virtual_address) {
  const uint64_t index = (virtual_address >> (12 + 9 * (level - 1))) & 0x1ff;
  return table + index * sizeof(uint64_t);
}

// Whether the bits above the translated ones repeat the highest of them.
bool IsCanonical(uint64_t virtual_address, int levels) {
  const int unused = 64 - (12 + 9 * levels);
  const auto extended = static_cast<int64_t>(virtual_address << unused) >> unused;
  return static_cast<uint64_t>(extended) == virtual_address;
}

bool IsLeaf(uint64_t entry, int level) { return level == 1 || (entry & kEntryLargePage) != 0; }

}  // namespace

PageTableBuilder::PageTableBuilder(GuestMemory& memory, uint64_t pool_begin, uint64_t pool_end)
    : memory_(memory), pool_begin_(pool_begin), pool_end_(pool_end), next_page_(pool_begin) {}

absl::Status PageTableBuilder::CreateRoot(const AddressSpaceRoot& space) {
  if (space.root % kTableSize != 0 || (space.levels != 4 && space.levels != 5)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a root at %#x with %d levels: 4 KiB aligned, 4 or 5", space.root, space.levels));
  }
  if (space.root >= pool_begin_ && space.root < pool_end_) {
    return absl::InvalidArgumentError(absl::StrFormat("a root at %#x: %#x to %#x hold the tables",
                                                      space.root, pool_begin_, pool_end_));
  }
  return memory_.Write(space.root, std::string(kTableSize, '\0'));
}

absl::Status PageTableBuilder::Map(const AddressSpaceRoot& space, uint64_t virtual_address,
                                   uint64_t physical_address, PageSize size, uint64_t permissions) {
  const auto bytes = static_cast<uint64_t>(size);
  if (!IsCanonical(virtual_address, space.levels) || virtual_address % bytes != 0 ||
      physical_address % bytes != 0) {
    return absl::InvalidArgumentError(absl::StrFormat("a page of %#x bytes cannot map %#x to %#x",
                                                      bytes, virtual_address, physical_address));
  }
  uint64_t table = space.root;
  const int leaf_level = LeafLevel(size);
  for (int level = space.levels; level > leaf_level; --level) {
    ASSIGN_OR_RETURN(table, Descend(EntryAddress(table, level, virtual_address)));
  }
  const uint64_t entry_address = EntryAddress(table, leaf_level, virtual_address);
  ASSIGN_OR_RETURN(const uint64_t old, memory_.ReadEntry(entry_address));
  if ((old & kEntryPresent) != 0 && !IsLeaf(old, leaf_level)) {
    return absl::FailedPreconditionError(
        absl::StrFormat("smaller pages are mapped at %#x", virtual_address));
  }
  const uint64_t large = leaf_level > 1 ? kEntryLargePage : 0;
  return memory_.WriteEntry(entry_address, physical_address | large | permissions | kEntryPresent |
                                               kEntryAccessed | kEntryDirty);
}

absl::Status PageTableBuilder::Unmap(const AddressSpaceRoot& space, uint64_t virtual_address) {
  ASSIGN_OR_RETURN(const uint64_t entry_address, LeafEntryAddress(space, virtual_address));
  return memory_.WriteEntry(entry_address, 0);
}

absl::StatusOr<uint64_t> PageTableBuilder::LeafEntryAddress(const AddressSpaceRoot& space,
                                                            uint64_t virtual_address) const {
  uint64_t table = space.root;
  for (int level = space.levels; level >= 1; --level) {
    const uint64_t entry_address = EntryAddress(table, level, virtual_address);
    ASSIGN_OR_RETURN(const uint64_t entry, memory_.ReadEntry(entry_address));
    if ((entry & kEntryPresent) == 0) break;
    if (IsLeaf(entry, level)) return entry_address;
    table = entry & kAddressMask;
  }
  return absl::NotFoundError(absl::StrFormat("nothing is mapped at %#x", virtual_address));
}

absl::StatusOr<uint64_t> PageTableBuilder::AllocatePage() {
  if (next_page_ >= pool_end_) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("the pool of guest pages, %#x to %#x, is used up", pool_begin_, pool_end_));
  }
  const uint64_t page = next_page_;
  RETURN_IF_ERROR(memory_.Write(page, std::string(kTableSize, '\0')));
  next_page_ += kTableSize;
  return page;
}

absl::StatusOr<uint64_t> PageTableBuilder::Descend(uint64_t entry_address) {
  ASSIGN_OR_RETURN(const uint64_t entry, memory_.ReadEntry(entry_address));
  if ((entry & kEntryPresent) == 0) {
    ASSIGN_OR_RETURN(const uint64_t table, AllocatePage());
    RETURN_IF_ERROR(memory_.WriteEntry(
        entry_address, table | kEntryPresent | kEntryWritable | kEntryUser | kEntryAccessed));
    return table;
  }
  if ((entry & kEntryLargePage) != 0) {
    return absl::FailedPreconditionError("a larger page is mapped there");
  }
  return entry & kAddressMask;
}

}  // namespace nestor::guest
