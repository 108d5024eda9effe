// Memory that an iommufd holds for DMA.
#pragma once

#include <cstdint>
#include <memory>

#include "agent/kernel/sim_physical_memory.h"
#include "agent/kernel/user_memory.h"
#include "api/support/file_descriptor.h"

namespace nestor::kernel {

// A part of a process's memory or of a file, pinned while this lives. Mappings that were
// copied from one another share it. Not thread-safe.
class SimPinnedPages {
 public:
  // [address, address + size) of `owner`, need not be page aligned. `writable`: to be written.
  SimPinnedPages(SimPhysicalMemory& physical, const UserMemory& owner, uint64_t address,
                 uint64_t size, bool writable);
  // [start, start + size) of a file, which stays whatever becomes of the process: 0, or
  // -EINVAL: it has not that much, or is not of shared memory (memfd, tmpfs, hugetlbfs);
  // -EPERM: it must not be written and `writable` is true.
  static int OfFile(SimPhysicalMemory& physical, const FileDescriptor& file, uint64_t start,
                    uint64_t size, bool writable, std::shared_ptr<SimPinnedPages>* pages);
  ~SimPinnedPages();
  SimPinnedPages(const SimPinnedPages&) = delete;
  SimPinnedPages& operator=(const SimPinnedPages&) = delete;

  // Host physical, of the first byte.
  uint64_t host_address() const { return frame_ + offset_; }
  // Of the first byte in its page.
  uint64_t page_offset() const { return offset_; }
  bool writable() const { return writable_; }
  bool is_file() const { return file_mapping_ != nullptr; }
  // Whether the owner has it mapped, and for writing if that is wanted.
  bool IsPresent() const { return owner_.IsMapped(page_, page_size_, writable_); }

 private:
  SimPhysicalMemory& physical_;
  const UserMemory owner_;
  const uint64_t page_;    // where the first page begins
  const uint64_t offset_;  // in it
  const uint64_t page_size_;
  const bool writable_;
  const uint64_t frame_;
  void* file_mapping_ = nullptr;  // of page_size_; null: a process's memory
};

}  // namespace nestor::kernel
