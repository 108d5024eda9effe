// Page tables of an x86-64 guest, written into its own memory.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/guest/guest_memory.h"

namespace nestor::guest {

// Bytes that one leaf entry maps.
enum class PageSize : uint64_t { k4K = 1ull << 12, k2M = 1ull << 21, k1G = 1ull << 30 };

// Bits of an entry (Intel SDM volume 3A, 4.5: tables 4-15 to 4-20).
inline constexpr uint64_t kEntryPresent = 1 << 0;
inline constexpr uint64_t kEntryWritable = 1 << 1;
inline constexpr uint64_t kEntryUser = 1 << 2;
inline constexpr uint64_t kEntryAccessed = 1 << 5;
inline constexpr uint64_t kEntryDirty = 1 << 6;
inline constexpr uint64_t kEntryLargePage = 1 << 7;

// A page table: its root, where the caller wants it, and its depth.
struct AddressSpaceRoot {
  uint64_t root = 0;  // guest physical, 4 KiB aligned
  int levels = 4;     // 4 (48-bit addresses) or 5 (57-bit)
};

// Writes tables below given roots, taking pages for them from a pool of guest memory that
// it never gives back. Not thread-safe.
class PageTableBuilder {
 public:
  // Takes its pages from [pool_begin, pool_end), both 4 KiB aligned, of `memory`, which
  // must outlive this.
  PageTableBuilder(GuestMemory& memory, uint64_t pool_begin, uint64_t pool_end);

  // An empty root. INVALID_ARGUMENT: unaligned, in the pool, or neither 4 nor 5 levels;
  // OUT_OF_RANGE: no RAM there.
  absl::Status CreateRoot(const AddressSpaceRoot& space);

  // Maps one page at `virtual_address`, in place of what was there. `permissions`: of
  // kEntryWritable and kEntryUser. INVALID_ARGUMENT: an address that is not canonical or not
  // a multiple of the page's size. FAILED_PRECONDITION: a page of another size is there.
  // RESOURCE_EXHAUSTED: the pool is used up.
  absl::Status Map(const AddressSpaceRoot& space, uint64_t virtual_address,
                   uint64_t physical_address, PageSize size = PageSize::k4K,
                   uint64_t permissions = kEntryWritable | kEntryUser);
  // Makes the entry that maps `virtual_address` not present. NOT_FOUND: nothing does.
  absl::Status Unmap(const AddressSpaceRoot& space, uint64_t virtual_address);
  // Where the leaf entry of `virtual_address` stands (guest physical), for tests that write
  // one by hand. NOT_FOUND: nothing is mapped there.
  absl::StatusOr<uint64_t> LeafEntryAddress(const AddressSpaceRoot& space,
                                            uint64_t virtual_address) const;

  // A page of the pool, zeroed. RESOURCE_EXHAUSTED.
  absl::StatusOr<uint64_t> AllocatePage();

 private:
  // The table that the entry at `entry_address` points to, made if it is not there.
  absl::StatusOr<uint64_t> Descend(uint64_t entry_address);

  GuestMemory& memory_;
  const uint64_t pool_begin_;
  const uint64_t pool_end_;
  uint64_t next_page_;
};

}  // namespace nestor::guest
