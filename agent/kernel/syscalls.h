// The only way to the operating system for device work, in the kernel's own terms.
//
// Everything that touches VFIO, IOMMU or sysfs goes through this port, so that the same
// code runs on Linux (LinuxSyscalls) and on the simulated kernel (SimProcess).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace nestor::kernel {

// System calls of one process.
//
// Results are as the kernel returns them: a value >= 0 on success, -errno on failure; the
// C library's errno is neither read nor written. EINTR is returned, never retried here.
// Paths are absolute. File descriptors belong to the caller, who closes each once.
// Thread-safe as the system calls themselves are.
class Syscalls {
 public:
  virtual ~Syscalls() = default;

  // open(2) with O_CLOEXEC added. `flags`: O_RDONLY, O_WRONLY or O_RDWR, and O_NONBLOCK.
  virtual int Open(const std::string& path, int flags) = 0;
  // close(2).
  virtual int Close(int fd) = 0;
  // ioctl(2). `argument` is the third argument as the kernel sees it: a value or an address.
  virtual int Ioctl(int fd, unsigned long request, uint64_t argument) = 0;  // NOLINT: kernel's type
  // pread(2) and pwrite(2).
  virtual ssize_t Pread(int fd, void* buffer, size_t size, uint64_t offset) = 0;
  virtual ssize_t Pwrite(int fd, const void* buffer, size_t size, uint64_t offset) = 0;
  // mmap(2) with address 0: the address (never negative as a 64-bit value) or -errno.
  virtual int64_t Mmap(size_t length, int protection, int flags, int fd, uint64_t offset) = 0;
  // munmap(2).
  virtual int Munmap(uint64_t address, size_t length) = 0;
  // readlink(2); 0, and `target` is set.
  virtual int Readlink(const std::string& path, std::string* target) = 0;
  // readdir(3) without "." and ".."; 0, and `names` are set in order of name.
  virtual int Readdir(const std::string& path, std::vector<std::string>* names) = 0;
  // Opens, reads at most 64 KiB, closes: for sysfs attributes. 0, and `content` is set as
  // read (with its newline).
  virtual int ReadFile(const std::string& path, std::string* content) = 0;
  // Opens for writing without O_CREAT, writes once, closes: for sysfs attributes. 0.
  virtual int WriteFile(const std::string& path, const std::string& content) = 0;

  // Ioctl with the address of an argument struct.
  int IoctlPointer(int fd, unsigned long request, void* argument) {  // NOLINT: kernel's type
    return Ioctl(fd, request, reinterpret_cast<uint64_t>(argument));
  }
};

}  // namespace nestor::kernel
