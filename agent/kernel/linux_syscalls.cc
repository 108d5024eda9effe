#include "agent/kernel/linux_syscalls.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "agent/kernel/unique_fd.h"

namespace nestor::kernel {
namespace {

constexpr size_t kMaxFileContent = 64 * 1024;

// The C library's way of reporting turned into the kernel's.
template <typename Result>
Result ResultOrErrno(Result result) {
  return result < 0 ? static_cast<Result>(-errno) : result;
}

bool IsDotName(const std::string& name) { return name == "." || name == ".."; }

// 0, or the -errno that ended the listing.
int ReadNames(DIR* directory, std::vector<std::string>* names) {
  names->clear();
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(directory);
    if (entry == nullptr) return -errno;
    if (!IsDotName(entry->d_name)) names->emplace_back(entry->d_name);
  }
}

}  // namespace

int LinuxSyscalls::Open(const std::string& path, int flags) {
  return ResultOrErrno(open(path.c_str(), flags | O_CLOEXEC));
}

int LinuxSyscalls::Close(int fd) { return ResultOrErrno(close(fd)); }

int LinuxSyscalls::Ioctl(int fd, unsigned long request, uint64_t argument) {  // NOLINT
  return ResultOrErrno(ioctl(fd, request, argument));
}

ssize_t LinuxSyscalls::Pread(int fd, void* buffer, size_t size, uint64_t offset) {
  return ResultOrErrno(pread(fd, buffer, size, static_cast<off_t>(offset)));
}

ssize_t LinuxSyscalls::Pwrite(int fd, const void* buffer, size_t size, uint64_t offset) {
  return ResultOrErrno(pwrite(fd, buffer, size, static_cast<off_t>(offset)));
}

int64_t LinuxSyscalls::Mmap(size_t length, int protection, int flags, int fd, uint64_t offset) {
  void* address = mmap(nullptr, length, protection, flags, fd, static_cast<off_t>(offset));
  return address == MAP_FAILED ? -errno : reinterpret_cast<int64_t>(address);
}

int LinuxSyscalls::Munmap(uint64_t address, size_t length) {
  return ResultOrErrno(munmap(reinterpret_cast<void*>(address), length));
}

int LinuxSyscalls::Readlink(const std::string& path, std::string* target) {
  char buffer[PATH_MAX];
  const ssize_t size = readlink(path.c_str(), buffer, sizeof(buffer));
  if (size < 0) return -errno;
  target->assign(buffer, static_cast<size_t>(size));
  return 0;
}

int LinuxSyscalls::Readdir(const std::string& path, std::vector<std::string>* names) {
  DIR* directory = opendir(path.c_str());
  if (directory == nullptr) return -errno;
  const int result = ReadNames(directory, names);
  closedir(directory);
  std::sort(names->begin(), names->end());
  return result;
}

int LinuxSyscalls::ReadFile(const std::string& path, std::string* content) {
  const int fd = Open(path, O_RDONLY);
  if (fd < 0) return fd;
  const UniqueFd owner(*this, fd);
  std::string bytes(kMaxFileContent, '\0');
  size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t size = read(fd, bytes.data() + filled, bytes.size() - filled);
    if (size < 0) return -errno;
    if (size == 0) break;
    filled += static_cast<size_t>(size);
  }
  bytes.resize(filled);
  *content = std::move(bytes);
  return 0;
}

int LinuxSyscalls::WriteFile(const std::string& path, const std::string& content) {
  const int fd = Open(path, O_WRONLY);
  if (fd < 0) return fd;
  const UniqueFd owner(*this, fd);
  const ssize_t size = write(fd, content.data(), content.size());
  return size < 0 ? -errno : 0;
}

}  // namespace nestor::kernel
