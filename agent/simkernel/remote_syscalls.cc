#include "agent/simkernel/remote_syscalls.h"

#include <cerrno>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "agent/simkernel/nestorsim.h"

namespace nestor::kernel {
namespace {

// Of what a call gives back: ReadFile's promise, and more than a directory or a link has.
constexpr size_t kBufferSize = 64 * 1024;

// Calls `function(buffer, size)` and keeps what it wrote: 0 or -errno.
template <typename Function>
int ReadInto(std::string* text, Function function) {
  std::string buffer(kBufferSize, '\0');
  const ssize_t size = function(buffer.data(), buffer.size());
  if (size < 0) return static_cast<int>(size);
  buffer.resize(static_cast<size_t>(size));
  *text = std::move(buffer);
  return 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RemoteSyscalls>> RemoteSyscalls::Connect(const std::string& path) {
  const int fd = nestorsim_connect(path.c_str());
  if (fd >= 0) return absl::WrapUnique(new RemoteSyscalls(FileDescriptor(fd)));
  if (fd == -ENAMETOOLONG) {
    return absl::InvalidArgumentError(absl::StrCat("the socket path ", path, " is too long"));
  }
  return absl::UnavailableError(absl::StrCat("no simulated kernel answers at ", path, " (",
                                             absl::ErrnoToStatus(-fd, "connect").message(),
                                             "); start nestor-simkernel --listen unix:", path));
}

absl::StatusOr<std::string> RemoteSyscalls::Status() {
  std::string status;
  const int result = ReadInto(&status, [&](char* buffer, size_t size) {
    return nestorsim_status(connection_.get(), buffer, size);
  });
  if (result != 0) return absl::ErrnoToStatus(-result, "status of the simulated kernel");
  return status;
}

int RemoteSyscalls::Open(const std::string& path, int flags) {
  return nestorsim_open(connection_.get(), path.c_str(), flags);
}

int RemoteSyscalls::Close(int fd) { return host_.Close(fd); }

int RemoteSyscalls::Ioctl(int fd, unsigned long request, uint64_t argument) {  // NOLINT
  return nestorsim_is_simulated(fd) != 0 ? nestorsim_ioctl(fd, request, argument)
                                         : host_.Ioctl(fd, request, argument);
}

ssize_t RemoteSyscalls::Pread(int fd, void* buffer, size_t size, uint64_t offset) {
  return nestorsim_is_simulated(fd) != 0 ? nestorsim_pread(fd, buffer, size, offset)
                                         : host_.Pread(fd, buffer, size, offset);
}

ssize_t RemoteSyscalls::Pwrite(int fd, const void* buffer, size_t size, uint64_t offset) {
  return nestorsim_is_simulated(fd) != 0 ? nestorsim_pwrite(fd, buffer, size, offset)
                                         : host_.Pwrite(fd, buffer, size, offset);
}

// A simulated file is a socket to Linux, which cannot be mapped either.
int64_t RemoteSyscalls::Mmap(size_t length, int protection, int flags, int fd, uint64_t offset) {
  return host_.Mmap(length, protection, flags, fd, offset);
}

int RemoteSyscalls::Munmap(uint64_t address, size_t length) {
  return host_.Munmap(address, length);
}

int RemoteSyscalls::Readlink(const std::string& path, std::string* target) {
  return ReadInto(target, [&](char* buffer, size_t size) {
    return nestorsim_readlink(connection_.get(), path.c_str(), buffer, size);
  });
}

int RemoteSyscalls::Readdir(const std::string& path, std::vector<std::string>* names) {
  std::string list;
  const int result = ReadInto(&list, [&](char* buffer, size_t size) {
    return nestorsim_readdir(connection_.get(), path.c_str(), buffer, size);
  });
  if (result == 0) *names = absl::StrSplit(list, '\0', absl::SkipEmpty());
  return result;
}

int RemoteSyscalls::ReadFile(const std::string& path, std::string* content) {
  return ReadInto(content, [&](char* buffer, size_t size) {
    return nestorsim_read_file(connection_.get(), path.c_str(), buffer, size);
  });
}

int RemoteSyscalls::WriteFile(const std::string& path, const std::string& content) {
  const ssize_t result =
      nestorsim_write_file(connection_.get(), path.c_str(), content.data(), content.size());
  return result < 0 ? static_cast<int>(result) : 0;
}

}  // namespace nestor::kernel
