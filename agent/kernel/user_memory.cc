#include "agent/kernel/user_memory.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"

namespace nestor::kernel {
namespace {

// Bytes that one copy of a string takes: never beyond a page, since the next may be missing.
constexpr uint64_t kPageSize = 4096;

struct MappedRange {
  uint64_t begin = 0;
  uint64_t end = 0;
  bool readable = false;
  bool writable = false;
};

// A line of /proc/PID/maps: "7f1200000000-7f1200021000 rw-p 00000000 00:00 0 ...".
bool ParseMapsLine(const std::string& line, MappedRange* range) {
  char permissions[5] = {};
  if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s", &range->begin, &range->end,
                  permissions) != 3) {
    return false;
  }
  range->readable = permissions[0] == 'r';
  range->writable = permissions[1] == 'w';
  return true;
}

}  // namespace

// An open /proc/PID/mem stays with the memory that the process had then. Copies do not go
// through it, because it would also write where the process itself may not.
int UserMemory::Open(pid_t pid, UserMemory* memory) {
  const std::string path = absl::StrCat("/proc/", pid, "/mem");
  FileDescriptor proc_mem(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!proc_mem.valid()) return -errno;
  *memory = UserMemory(pid);
  memory->proc_mem_ = std::make_shared<const FileDescriptor>(std::move(proc_mem));
  return 0;
}

// Of memory that is gone a read gives no byte; otherwise a byte, or an error, as address 0 does.
bool UserMemory::IsAlive() const {
  char byte;
  return proc_mem_ == nullptr || pread(proc_mem_->get(), &byte, 1, 0) != 0;
}

bool UserMemory::Read(uint64_t address, void* buffer, size_t size) const {
  const iovec local = {buffer, size};
  const iovec remote = {reinterpret_cast<void*>(address), size};
  if (size == 0) return true;
  return IsAlive() &&
         process_vm_readv(pid_, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
}

bool UserMemory::Write(uint64_t address, const void* buffer, size_t size) const {
  const iovec local = {const_cast<void*>(buffer), size};
  const iovec remote = {reinterpret_cast<void*>(address), size};
  if (size == 0) return true;
  return IsAlive() &&
         process_vm_writev(pid_, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
}

int UserMemory::ReadString(uint64_t address, size_t max_size, std::string* text) const {
  text->clear();
  while (text->size() < max_size) {
    const uint64_t to_page_end = kPageSize - address % kPageSize;
    char chunk[kPageSize];
    const size_t size = std::min<uint64_t>(to_page_end, max_size - text->size());
    if (!Read(address, chunk, size)) return -EFAULT;
    const char* end = std::find(chunk, chunk + size, '\0');
    text->append(chunk, static_cast<size_t>(end - chunk));
    if (end != chunk + size) return 0;
    address += size;
  }
  return -EINVAL;
}

bool UserMemory::IsMapped(uint64_t address, uint64_t size, bool writable) const {
  std::ifstream maps(absl::StrCat("/proc/", pid_, "/maps"));
  if (!IsAlive()) return false;  // what was just opened may be another process's
  for (std::string line; size > 0 && std::getline(maps, line);) {
    MappedRange range;
    if (!ParseMapsLine(line, &range) || range.end <= address) continue;
    if (range.begin > address || !range.readable || (writable && !range.writable)) return false;
    size -= std::min(size, range.end - address);
    address = range.end;
  }
  return size == 0;
}

}  // namespace nestor::kernel
