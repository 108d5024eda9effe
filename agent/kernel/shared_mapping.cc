#include "agent/kernel/shared_mapping.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "api/support/file_descriptor.h"

namespace nestor::kernel {
namespace {

// What a process has at an address.
struct MappedFile {
  dev_t device = 0;
  ino_t inode = 0;
  uint64_t offset = 0;
  bool writable = false;
};

// A line of /proc/PID/maps: "7f1200000000-7f1200021000 rw-s 00001000 00:01 4242 /memfd:...".
std::optional<MappedFile> FileAt(const std::string& line, uint64_t address, uint64_t size) {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t offset = 0;
  uint64_t inode = 0;
  unsigned int major_number = 0;
  unsigned int minor_number = 0;
  char permissions[5] = {};
  if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64, &begin,
                  &end, permissions, &offset, &major_number, &minor_number, &inode) != 7) {
    return std::nullopt;
  }
  if (address < begin || address + size > end || permissions[3] != 's') return std::nullopt;
  return MappedFile{makedev(major_number, minor_number), inode, offset + (address - begin),
                    permissions[1] == 'w'};
}

std::optional<MappedFile> FindFile(pid_t pid, uint64_t address, uint64_t size) {
  std::ifstream maps(absl::StrCat("/proc/", pid, "/maps"));
  for (std::string line; std::getline(maps, line);) {
    if (const auto file = FileAt(line, address, size)) return file;
  }
  return std::nullopt;
}

// A duplicate of a descriptor that the process has of that file; not valid: it has none.
FileDescriptor FindDescriptor(pid_t pid, const MappedFile& file) {
  const FileDescriptor process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  std::error_code error;
  for (std::filesystem::directory_iterator entry(absl::StrCat("/proc/", pid, "/fd"), error), end;
       !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename();
    int fd = -1;
    std::from_chars(name.data(), name.data() + name.size(), fd);
    FileDescriptor duplicate(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), fd, 0)));
    struct stat status = {};
    if (duplicate.valid() && fstat(duplicate.get(), &status) == 0 && status.st_dev == file.device &&
        status.st_ino == file.inode) {
      return duplicate;
    }
  }
  return FileDescriptor();
}

}  // namespace

std::unique_ptr<SharedMapping> SharedMapping::Of(pid_t pid, uint64_t address, uint64_t size) {
  const std::optional<MappedFile> file = FindFile(pid, address, size);
  if (!file.has_value()) return nullptr;
  const FileDescriptor descriptor = FindDescriptor(pid, *file);
  if (!descriptor.valid()) return nullptr;
  void* start = mmap(nullptr, size, PROT_READ | (file->writable ? PROT_WRITE : 0), MAP_SHARED,
                     descriptor.get(), static_cast<off_t>(file->offset));
  if (start == MAP_FAILED) return nullptr;
  return absl::WrapUnique(new SharedMapping(start, size));
}

SharedMapping::~SharedMapping() { munmap(start_, size_); }

}  // namespace nestor::kernel
