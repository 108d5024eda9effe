// What a descriptor of a simulated process refers to, and the task that makes a call.
#pragma once

#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "agent/kernel/user_memory.h"
#include "api/support/file_descriptor.h"

namespace nestor::kernel {

class SimFile;

// The process that a system call is made by.
class SimTask {
 public:
  virtual ~SimTask() = default;
  virtual const UserMemory& memory() const = 0;
  // Names its address space; no two processes of a kernel have the same.
  virtual int address_space() const = 0;
  // Null: no such descriptor.
  virtual std::shared_ptr<SimFile> GetFile(int fd) = 0;
  // A duplicate of its descriptor of a file that is not simulated; invalid: there is none.
  virtual FileDescriptor DuplicateHostFile(int fd) const = 0;
  // The new descriptor.
  virtual int InstallFile(std::shared_ptr<SimFile> file) = 0;
};

// An open file. It is released when its last descriptor and its last use in the kernel are
// gone. All calls, and the destructor, run under the kernel's lock. Results are >= 0 or
// -errno; the defaults are the kernel's answers for a file without that operation.
class SimFile {
 public:
  virtual ~SimFile() = default;
  virtual int Ioctl(SimTask& task, uint32_t request, uint64_t argument);
  // `address` is in the task's memory.
  virtual ssize_t Pread(SimTask& task, uint64_t address, size_t size, uint64_t offset);
  virtual ssize_t Pwrite(SimTask& task, uint64_t address, size_t size, uint64_t offset);
};

inline int SimFile::Ioctl(SimTask&, uint32_t, uint64_t) { return -ENOTTY; }
inline ssize_t SimFile::Pread(SimTask&, uint64_t, size_t, uint64_t) { return -EINVAL; }
inline ssize_t SimFile::Pwrite(SimTask&, uint64_t, size_t, uint64_t) { return -EINVAL; }

}  // namespace nestor::kernel
