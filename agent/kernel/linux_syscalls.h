// The system calls of the process itself.
#pragma once

#include "agent/kernel/syscalls.h"

namespace nestor::kernel {

// Passes each call to Linux and its result or -errno back. Thread-safe.
class LinuxSyscalls final : public Syscalls {
 public:
  int Open(const std::string& path, int flags) override;
  int Close(int fd) override;
  int Ioctl(int fd, unsigned long request, uint64_t argument) override;  // NOLINT: kernel's type
  ssize_t Pread(int fd, void* buffer, size_t size, uint64_t offset) override;
  ssize_t Pwrite(int fd, const void* buffer, size_t size, uint64_t offset) override;
  int64_t Mmap(size_t length, int protection, int flags, int fd, uint64_t offset) override;
  int Munmap(uint64_t address, size_t length) override;
  int Readlink(const std::string& path, std::string* target) override;
  int Readdir(const std::string& path, std::vector<std::string>* names) override;
  int ReadFile(const std::string& path, std::string* content) override;
  int WriteFile(const std::string& path, const std::string& content) override;
};

}  // namespace nestor::kernel
