// A process's memory as the kernel's copy_from_user and copy_to_user reach it.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>

#include "api/support/file_descriptor.h"

namespace nestor::kernel {

// The memory of a process. An address that is not mapped, or not for that access, is an
// answer and never a signal. Copyable; thread-safe; copies are not atomic.
class UserMemory {
 public:
  // Of the calling process, `pid`.
  explicit UserMemory(pid_t pid) : pid_(pid) {}
  // Of process `pid` as it is now: once that has ended or called execve, nothing of it is
  // mapped any more, whoever has the number then. 0, or -errno: -EACCES or -EPERM: the caller
  // may not trace it (ptrace(2)); -ENOENT or -ESRCH: there is no such process.
  static int Open(pid_t pid, UserMemory* memory);

  // Whether the process still has it.
  bool IsAlive() const;
  pid_t pid() const { return pid_; }
  // Whether it is another process's.
  bool is_foreign() const { return proc_mem_ != nullptr; }

  // Whether all of it was copied. Some may have been copied where not.
  [[nodiscard]] bool Read(uint64_t address, void* buffer, size_t size) const;
  [[nodiscard]] bool Write(uint64_t address, const void* buffer, size_t size) const;

  template <typename Value>
  [[nodiscard]] bool Read(uint64_t address, Value* value) const {
    static_assert(std::is_trivially_copyable_v<Value>);
    return Read(address, value, sizeof(*value));
  }
  template <typename Value>
  [[nodiscard]] bool Write(uint64_t address, const Value& value) const {
    static_assert(std::is_trivially_copyable_v<Value>);
    return Write(address, &value, sizeof(value));
  }
  // A string that ends in a zero byte: 0, -EFAULT, or -EINVAL where it has `max_size` bytes
  // and more, the zero included.
  [[nodiscard]] int ReadString(uint64_t address, size_t max_size, std::string* text) const;

  // Whether all of [address, address + size) is mapped for reading and, if `writable`, for
  // writing. No page is brought in.
  [[nodiscard]] bool IsMapped(uint64_t address, uint64_t size, bool writable) const;

 private:
  pid_t pid_;
  std::shared_ptr<const FileDescriptor> proc_mem_;  // names the memory; null: the caller's own
};

}  // namespace nestor::kernel
