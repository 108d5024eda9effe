#include "agent/simkernel/client_process.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace nestor::kernel {
namespace {

// A child that does nothing, in whose memory and descriptors this process would find its own.
class IdleChild {
 public:
  IdleChild() : pid_(fork()) {
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (true) pause();
  }
  ~IdleChild() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  IdleChild(const IdleChild&) = delete;
  IdleChild& operator=(const IdleChild&) = delete;
  pid_t pid() const { return pid_; }

 private:
  const pid_t pid_;
};

absl::Status Forbidden(absl::string_view call, int error) {
  return absl::FailedPreconditionError(absl::StrCat(
      "this host forbids ", call, " on other processes (", strerror(error),
      "): simulated system calls could not reach their callers' memory. Where "
      "/proc/sys/kernel/yama/ptrace_scope is 2 or 3, set it to 1 or 0; in a container, allow "
      "process_vm_readv, process_vm_writev and pidfd_getfd, e.g. by the capability SYS_PTRACE"));
}

}  // namespace

int ClientProcess::Open(pid_t pid, int address_space, ClientProcess* process) {
  process->address_space_ = address_space;
  process->pidfd_ = FileDescriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!process->pidfd_.valid()) return errno == EINVAL ? -ESRCH : -errno;
  const int result = UserMemory::Open(pid, &process->memory_);
  return result == -EACCES ? -EPERM : result;
}

FileDescriptor ClientProcess::Duplicate(int fd) const {
  return FileDescriptor(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd_.get(), fd, 0)));
}

absl::Status CheckProcessAccess() {
  static uint64_t probe = 0x6e73;
  const IdleChild child;
  if (child.pid() < 0) return absl::ErrnoToStatus(errno, "fork");
  ClientProcess process;
  if (const int result = ClientProcess::Open(child.pid(), 0, &process); result != 0) {
    return Forbidden("ptrace access", -result);
  }
  uint64_t value = 0;
  if (!process.memory().Read(reinterpret_cast<uint64_t>(&probe), &value)) {
    return Forbidden("process_vm_readv", errno);
  }
  if (!process.memory().Write(reinterpret_cast<uint64_t>(&probe), value)) {
    return Forbidden("process_vm_writev", errno);
  }
  if (!process.Duplicate(STDERR_FILENO).valid() && errno != EBADF) {
    return Forbidden("pidfd_getfd", errno);
  }
  return absl::OkStatus();
}

}  // namespace nestor::kernel
