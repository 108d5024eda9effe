#include "agent/kernel/sim_pinned_pages.h"

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

namespace nestor::kernel {
namespace {

constexpr uint64_t kPageMask = 4095;

uint64_t RoundUp(uint64_t size) { return (size + kPageMask) & ~kPageMask; }

bool IsSharedMemory(const FileDescriptor& file) {
  struct statfs system = {};
  if (fstatfs(file.get(), &system) != 0) return false;
  return system.f_type == TMPFS_MAGIC || system.f_type == HUGETLBFS_MAGIC;
}

bool HasBytes(const FileDescriptor& file, uint64_t start, uint64_t size) {
  struct stat status = {};
  if (fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
  const auto length = static_cast<uint64_t>(status.st_size);
  return start <= length && size <= length - start;
}

}  // namespace

SimPinnedPages::SimPinnedPages(SimPhysicalMemory& physical, const UserMemory& owner,
                               uint64_t address, uint64_t size, bool writable)
    : physical_(physical),
      owner_(owner),
      page_(address & ~kPageMask),
      offset_(address & kPageMask),
      page_size_(RoundUp(offset_ + size)),
      writable_(writable),
      frame_(physical.Pin(owner, page_, page_size_)) {}

int SimPinnedPages::OfFile(SimPhysicalMemory& physical, const FileDescriptor& file, uint64_t start,
                           uint64_t size, bool writable, std::shared_ptr<SimPinnedPages>* pages) {
  if (!IsSharedMemory(file) || !HasBytes(file, start, size)) return -EINVAL;
  const uint64_t first_page = start & ~kPageMask;
  const uint64_t page_size = RoundUp(start + size - first_page);
  void* mapping = mmap(nullptr, page_size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED,
                       file.get(), static_cast<off_t>(first_page));
  if (mapping == MAP_FAILED) return errno == EACCES ? -EPERM : -errno;
  const uint64_t address = reinterpret_cast<uint64_t>(mapping) + (start - first_page);
  *pages =
      std::make_shared<SimPinnedPages>(physical, UserMemory(getpid()), address, size, writable);
  (*pages)->file_mapping_ = mapping;
  return 0;
}

SimPinnedPages::~SimPinnedPages() {
  physical_.Unpin(frame_);
  if (file_mapping_ != nullptr) munmap(file_mapping_, page_size_);
}

}  // namespace nestor::kernel
