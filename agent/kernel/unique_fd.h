// An owning file descriptor of a Syscalls.
#pragma once

#include <utility>

#include "agent/kernel/syscalls.h"

namespace nestor::kernel {

// Closes its descriptor when it goes. Move-only; not thread-safe.
class UniqueFd {
 public:
  UniqueFd() = default;
  // Takes ownership of `fd`, a descriptor of `syscalls`, which must outlive this.
  UniqueFd(Syscalls& syscalls, int fd) : syscalls_(&syscalls), fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept
      : syscalls_(other.syscalls_), fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      Reset();
      syscalls_ = other.syscalls_;
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~UniqueFd() { Reset(); }

  bool valid() const { return fd_ >= 0; }
  int get() const { return fd_; }
  // Gives ownership away.
  int Release() { return std::exchange(fd_, -1); }
  void Reset() {
    if (fd_ >= 0) syscalls_->Close(std::exchange(fd_, -1));
  }

 private:
  Syscalls* syscalls_ = nullptr;
  int fd_ = -1;
};

}  // namespace nestor::kernel
