// The processes that make calls.
#pragma once

#include <sys/types.h>

#include "absl/status/status.h"
#include "agent/kernel/user_memory.h"
#include "api/support/file_descriptor.h"

namespace nestor::kernel {

// A process of the host as the simulated kernel knows it: one address space. execve makes
// another of it.
class ClientProcess {
 public:
  // The process that has the number `pid` now. 0, or -errno: -EPERM: its memory may not be
  // reached; -ESRCH: there is none.
  static int Open(pid_t pid, int address_space, ClientProcess* process);

  const UserMemory& memory() const { return memory_; }
  int address_space() const { return address_space_; }
  // A pidfd: readable when the process has ended.
  const FileDescriptor& pidfd() const { return pidfd_; }
  // A duplicate of its descriptor `fd`; invalid: it has no such.
  FileDescriptor Duplicate(int fd) const;

 private:
  UserMemory memory_{0};
  int address_space_ = 0;
  FileDescriptor pidfd_;
};

// Nothing, or why a simulated kernel in this process could not serve others: whether the host
// lets one reach another's memory and descriptors is tried with a child.
absl::Status CheckProcessAccess();

}  // namespace nestor::kernel
