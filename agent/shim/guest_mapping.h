// Guest memory in this process's address space.
#pragma once

#include <cstdint>
#include <utility>

#include "agent/kernel/syscalls.h"

namespace nestor::agent {

// Unmaps when it goes. Move-only; not thread-safe.
class GuestMapping {
 public:
  // Takes over a mapping made with `syscalls`, which must outlive this.
  GuestMapping(kernel::Syscalls& syscalls, uint64_t address, uint64_t size)
      : syscalls_(&syscalls), address_(address), size_(size) {}
  GuestMapping(GuestMapping&& other) noexcept
      : syscalls_(other.syscalls_),
        address_(other.address_),
        size_(std::exchange(other.size_, 0)) {}
  GuestMapping& operator=(GuestMapping&&) = delete;
  ~GuestMapping() {
    if (size_ != 0) syscalls_->Munmap(address_, size_);
  }

  uint64_t address() const { return address_; }

 private:
  kernel::Syscalls* syscalls_;
  uint64_t address_;
  uint64_t size_;
};

}  // namespace nestor::agent
