// System calls that can be watched.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "agent/kernel/syscalls.h"

namespace nestor::kernel {

// One call that was made.
struct TracedCall {
  std::string call;       // "ioctl", "open"
  std::string operation;  // of an ioctl, as IoctlName; of the others, their numbers
  std::string object;     // the path; for a descriptor, what it was opened by
  std::string argument;   // the bytes given, at most 4096
  std::string reply;      // the bytes that came back, where they differ; likewise
  int64_t result = 0;     // as the kernel returned it: -errno
};

// Passes every call on to another Syscalls and lets any number of recordings listen; without
// one that costs no more than a lock. Thread-safe as the other one is.
class TracingSyscalls final : public Syscalls {
 public:
  // Keeps the calls that end while it lives, at most `limit`. Thread-safe; it may outlive
  // what it listens to.
  class Recording {
   public:
    explicit Recording(size_t limit) : limit_(limit) {}
    // In the order in which they ended.
    std::vector<TracedCall> Calls() const;
    // How many more there were than were kept.
    uint64_t dropped() const;

   private:
    friend class TracingSyscalls;
    void Add(const TracedCall& call);

    const size_t limit_;
    mutable std::mutex mutex_;
    std::vector<TracedCall> calls_;
    uint64_t dropped_ = 0;
  };

  // `kernel` must outlive this.
  explicit TracingSyscalls(Syscalls& kernel) : kernel_(kernel) {}

  // Listens until the recording is destroyed.
  std::shared_ptr<Recording> Record(size_t limit);

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

 private:
  // The recordings that still listen.
  std::vector<std::shared_ptr<Recording>> Listeners();
  // Tells them what `describe` returns, which is asked only where somebody listens.
  template <typename Describe>
  void Tell(Describe describe);
  std::string NameOf(int fd);
  void Remember(int fd, const std::string& name);

  Syscalls& kernel_;
  std::mutex mutex_;
  std::vector<std::weak_ptr<Recording>> recordings_;
  std::map<int, std::string> names_;  // of open descriptors
};

}  // namespace nestor::kernel
