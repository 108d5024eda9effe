// A process on a simulated kernel.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/kernel/linux_syscalls.h"
#include "agent/kernel/sim_file.h"
#include "agent/kernel/syscalls.h"

namespace nestor::kernel {

struct SimSystem;

// The system calls of one process, made by SimKernel::CreateProcess. Destruction is the
// process's end: its descriptors are closed one after the other.
//
// It shares the memory of the process that it runs in, which also has real descriptors: the
// numbers of the simulated ones begin at kFirstDescriptor, above any that Linux gives by
// default (fs.nr_open), and calls on lower ones go to Linux. So a guest's memfd can be
// mapped and then handed to the simulated VFIO. Paths are the simulated machine's alone.
// Thread-safe.
class SimProcess final : public Syscalls, private SimTask {
 public:
  static constexpr int kFirstDescriptor = 1 << 20;

  // `system` must outlive this. `address_space` is unique in it.
  SimProcess(SimSystem& system, int address_space);
  ~SimProcess() override;
  SimProcess(const SimProcess&) = delete;
  SimProcess& operator=(const SimProcess&) = delete;

  // Gives `receiver`, another process of the kernel, a descriptor of the same open file, as
  // fork and SCM_RIGHTS do: the descriptor there, or -EBADF.
  int PassDescriptor(int fd, SimProcess& receiver);

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
  const UserMemory& memory() const override { return memory_; }
  int address_space() const override { return address_space_; }
  std::shared_ptr<SimFile> GetFile(int fd) override;
  FileDescriptor DuplicateHostFile(int fd) const override;
  int InstallFile(std::shared_ptr<SimFile> file) override;

  SimSystem& system_;
  const int address_space_;
  const UserMemory memory_;
  LinuxSyscalls host_;
  std::map<int, std::shared_ptr<SimFile>> files_;  // guarded by the system's mutex
};

}  // namespace nestor::kernel
