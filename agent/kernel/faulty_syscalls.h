// Test support: system calls of which chosen ones fail.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>

#include "agent/kernel/syscalls.h"

namespace nestor::kernel {

// Passes calls to another Syscalls, but makes some fail instead of being made. Calls that
// undo (close, munmap) never fail and are not counted: the kernel does them whatever it
// answers. Thread-safe as the other one is.
class FaultySyscalls final : public Syscalls {
 public:
  // `kernel` must outlive this.
  explicit FaultySyscalls(Syscalls& kernel) : kernel_(kernel) {}

  // The `number`-th call from now on (1: the next) fails with -`error_number`; forgets what
  // was asked for before and starts counting anew.
  void FailCall(int number, int error_number);
  // The `number`-th call from now on waits for Release before it is made; otherwise as FailCall.
  void HangCall(int number);
  // Whether a call waits now.
  bool IsHanging() const;
  // Ends the waiting.
  void Release();
  // Every ioctl with that request number fails with -`error_number` until Reset.
  void FailIoctl(unsigned long request, int error_number);  // NOLINT: kernel's type
  // Every call by that very path fails with -`error_number` until Reset.
  void FailPath(const std::string& path, int error_number);
  // No call fails; counting starts anew.
  void Reset();
  // Calls since the last FailCall or Reset, failed ones included.
  int calls() const;

  int Open(const std::string& path, int flags) override;
  int Close(int fd) override { return kernel_.Close(fd); }
  int Ioctl(int fd, unsigned long request, uint64_t argument) override;  // NOLINT: kernel's type
  ssize_t Pread(int fd, void* buffer, size_t size, uint64_t offset) override;
  ssize_t Pwrite(int fd, const void* buffer, size_t size, uint64_t offset) override;
  int64_t Mmap(size_t length, int protection, int flags, int fd, uint64_t offset) override;
  int Munmap(uint64_t address, size_t length) override { return kernel_.Munmap(address, length); }
  int Readlink(const std::string& path, std::string* target) override;
  int Readdir(const std::string& path, std::vector<std::string>* names) override;
  int ReadFile(const std::string& path, std::string* content) override;
  int WriteFile(const std::string& path, const std::string& content) override;

 private:
  // Counts a call, and has it wait; the -errno that it fails with, or 0.
  int Count();
  int CountIoctl(unsigned long request);  // NOLINT: kernel's type
  int CountPath(const std::string& path);

  Syscalls& kernel_;
  mutable std::mutex mutex_;
  int calls_ = 0;
  int failing_call_ = 0;  // 0: none
  int call_error_ = 0;
  int hanging_call_ = 0;  // 0: none
  bool hangs_ = false;
  std::condition_variable released_;
  unsigned long failing_request_ = 0;  // NOLINT: kernel's type
  int request_error_ = 0;              // 0: no request fails
  std::string failing_path_;
  int path_error_ = 0;  // 0: no path fails
};

}  // namespace nestor::kernel
