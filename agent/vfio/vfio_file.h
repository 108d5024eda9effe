// An open file of VFIO whose calls answer in absl::Status.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/kernel/syscalls.h"
#include "agent/kernel/unique_fd.h"

namespace nestor::agent {

// What to do with a call that a signal interrupted.
enum class OnSignal {
  // Give EINTR (ABORTED) to the caller: the call may have had its effect, and made twice it
  // would do harm.
  kReturn,
  // Make it again, at most kMaxAttempts times in all: it only asks, or made twice leaves
  // what it leaves made once.
  kRepeat,
};

// One ioctl.
struct VfioCall {
  const char* operation = "";  // as errors show it: "VFIO_SET_IOMMU"
  uint64_t request = 0;
  uint64_t argument = 0;  // a value, or an address as AddressOf gives it
  OnSignal on_signal = OnSignal::kReturn;
  std::string detail = {};  // added to the object in errors: "pasid 5"
};

// `argument` as an ioctl takes it.
template <typename Argument>
uint64_t AddressOf(Argument& argument) {
  return reinterpret_cast<uint64_t>(&argument);
}

// Owns a descriptor of `syscalls`, which must outlive it. Move-only; not thread-safe.
class VfioFile {
 public:
  static constexpr int kMaxAttempts = 8;

  // Not open.
  VfioFile() = default;
  // Takes ownership of `fd`; errors call it `object`.
  VfioFile(kernel::Syscalls& syscalls, int fd, std::string object)
      : syscalls_(&syscalls), fd_(syscalls, fd), object_(std::move(object)) {}

  // Opens for reading and writing. The error is the kernel's, on `path`; those of later
  // calls are on `object`.
  static absl::StatusOr<VfioFile> Open(kernel::Syscalls& syscalls, const std::string& path,
                                       const std::string& object);

  // What the kernel returns (>= 0), or its error.
  absl::StatusOr<int> Ioctl(const VfioCall& call) const;

  int fd() const { return fd_.get(); }
  const std::string& object() const { return object_; }

 private:
  kernel::Syscalls* syscalls_ = nullptr;
  kernel::UniqueFd fd_;
  std::string object_;
};

}  // namespace nestor::agent
