// The system calls of this process on the simulated kernel of a nestor-simkernel process.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/kernel/linux_syscalls.h"
#include "agent/kernel/syscalls.h"
#include "api/support/file_descriptor.h"

namespace nestor::kernel {

// libnestorsim behind the port. Simulated files have real descriptors of this process; calls on
// descriptors that are none of theirs, e.g. to map a guest's memory, go to Linux. Paths are the
// simulated machine's alone. -EIO: nestor-simkernel has gone. Thread-safe.
class RemoteSyscalls final : public Syscalls {
 public:
  // Connects to the socket at `path`. UNAVAILABLE: nobody listens there; INVALID_ARGUMENT: the
  // path is too long.
  static absl::StatusOr<std::unique_ptr<RemoteSyscalls>> Connect(const std::string& path);

  // What nestor-simkernel holds for all its clients, as JSON: what `nestor-simkernel --status`
  // prints. UNKNOWN: nestor-simkernel has gone.
  absl::StatusOr<std::string> Status();

  int Open(const std::string& path, int flags) override;
  int Close(int fd) override;
  int Ioctl(int fd, unsigned long request, uint64_t argument) override;  // NOLINT: kernel's type
  ssize_t Pread(int fd, void* buffer, size_t size, uint64_t offset) override;
  ssize_t Pwrite(int fd, const void* buffer, size_t size, uint64_t offset) override;
  // -ENODEV for a simulated file: none can be mapped.
  int64_t Mmap(size_t length, int protection, int flags, int fd, uint64_t offset) override;
  int Munmap(uint64_t address, size_t length) override;
  int Readlink(const std::string& path, std::string* target) override;
  int Readdir(const std::string& path, std::vector<std::string>* names) override;
  int ReadFile(const std::string& path, std::string* content) override;
  int WriteFile(const std::string& path, const std::string& content) override;

 private:
  explicit RemoteSyscalls(FileDescriptor connection) : connection_(std::move(connection)) {}

  const FileDescriptor connection_;
  LinuxSyscalls host_;
};

}  // namespace nestor::kernel
