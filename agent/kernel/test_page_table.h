// Test only: guest RAM and x86-64 page tables in it.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

namespace nestor::kernel {

// Anonymous memory of the test that stands for RAM at a guest physical address.
class TestRam {
 public:
  explicit TestRam(uint64_t guest_address, uint64_t size = 4 << 20)
      : guest_address_(guest_address), size_(size) {
    void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) abort();
    bytes_ = static_cast<uint8_t*>(address);
  }
  ~TestRam() { munmap(bytes_, size_); }
  TestRam(const TestRam&) = delete;
  TestRam& operator=(const TestRam&) = delete;

  uint64_t guest_address() const { return guest_address_; }
  uint64_t size() const { return size_; }
  uint64_t user_address() const { return reinterpret_cast<uint64_t>(bytes_); }
  // Where a guest physical address of this RAM is.
  uint8_t* At(uint64_t guest_address) const {
    if (guest_address - guest_address_ >= size_) abort();
    return bytes_ + (guest_address - guest_address_);
  }
  void Write(uint64_t guest_address, const std::string& text) const {
    std::memcpy(At(guest_address), text.data(), text.size());
  }
  std::string Read(uint64_t guest_address, size_t size) const {
    return {reinterpret_cast<const char*>(At(guest_address)), size};
  }

 private:
  const uint64_t guest_address_;
  const uint64_t size_;
  uint8_t* bytes_;
};

// Bits of an entry (Intel SDM volume 3A, 4.5).
inline constexpr uint64_t kTestPresent = 1 << 0;
inline constexpr uint64_t kTestWritable = 1 << 1;
inline constexpr uint64_t kTestUser = 1 << 2;
inline constexpr uint64_t kTestAccessed = 1 << 5;
inline constexpr uint64_t kTestDirty = 1 << 6;
inline constexpr uint64_t kTestLargePage = 1 << 7;
inline constexpr uint64_t kTestExtendedAccessed = 1 << 10;
inline constexpr uint64_t kTestAllRights = kTestPresent | kTestWritable | kTestUser;

// A page table with its root at `root`, further tables from there on upwards.
class TestPageTable {
 public:
  TestPageTable(const TestRam& ram, uint64_t root, int levels = 4)
      : ram_(ram), root_(root), levels_(levels), next_table_(root + 4096) {}

  uint64_t root() const { return root_; }

  // Maps a page of 4 KiB (leaf level 1), 2 MiB (2) or 1 GiB (3).
  void Map(uint64_t virtual_address, uint64_t guest_address, int leaf_level = 1,
           uint64_t rights = kTestAllRights) {
    const uint64_t large = leaf_level > 1 ? kTestLargePage : 0;
    *Entry(virtual_address, leaf_level) = guest_address | rights | large;
  }

  // The entry for an address at a level (1: of 4 KiB pages); tables above are made.
  uint64_t* Entry(uint64_t virtual_address, int level) {
    uint64_t table = root_;
    for (int at = levels_;; --at) {
      uint64_t* entry = reinterpret_cast<uint64_t*>(ram_.At(table)) +
                        (virtual_address >> (12 + 9 * (at - 1))) % 512;
      if (at == level) return entry;
      if (*entry == 0) {
        *entry = next_table_ | kTestAllRights;
        next_table_ += 4096;
      }
      table = *entry & 0x000f'ffff'ffff'f000;
    }
  }

 private:
  const TestRam& ram_;
  const uint64_t root_;
  const int levels_;
  uint64_t next_table_;
};

}  // namespace nestor::kernel
