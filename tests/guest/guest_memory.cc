#include "tests/guest/guest_memory.h"

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "api/support/status_macros.h"

namespace nestor::guest {

absl::StatusOr<GuestMemory> GuestMemory::Create(uint64_t size) {
  if (size == 0 || size % 4096 != 0) {
    return absl::InvalidArgumentError(absl::StrFormat("%#x bytes are no whole pages", size));
  }
  FileDescriptor file(memfd_create("guest-ram", MFD_CLOEXEC));
  if (!file.valid() || ftruncate(file.get(), static_cast<off_t>(size)) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("a memfd of %#x bytes", size));
  }
  void* bytes = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (bytes == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap of guest memory");
  return GuestMemory(std::move(file), static_cast<char*>(bytes), size);
}

GuestMemory::GuestMemory(FileDescriptor file, char* bytes, uint64_t size)
    : file_(std::move(file)), bytes_(bytes), size_(size) {}

GuestMemory::GuestMemory(GuestMemory&& other) noexcept
    : file_(std::move(other.file_)),
      bytes_(std::exchange(other.bytes_, nullptr)),
      size_(other.size_) {}

GuestMemory::~GuestMemory() {
  if (bytes_ != nullptr) munmap(bytes_, size_);
}

absl::Status GuestMemory::Write(uint64_t address, absl::string_view bytes) {
  RETURN_IF_ERROR(Check(address, bytes.size()));
  std::memcpy(bytes_ + address, bytes.data(), bytes.size());
  return absl::OkStatus();
}

absl::StatusOr<std::string> GuestMemory::Read(uint64_t address, uint64_t size) const {
  RETURN_IF_ERROR(Check(address, size));
  return std::string(bytes_ + address, size);
}

absl::Status GuestMemory::WriteEntry(uint64_t address, uint64_t value) {
  RETURN_IF_ERROR(Check(address, sizeof(value)));
  std::atomic_ref(*reinterpret_cast<uint64_t*>(bytes_ + address)).store(value);
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> GuestMemory::ReadEntry(uint64_t address) const {
  RETURN_IF_ERROR(Check(address, sizeof(uint64_t)));
  return std::atomic_ref(*reinterpret_cast<uint64_t*>(bytes_ + address)).load();
}

absl::Status GuestMemory::Check(uint64_t address, uint64_t size) const {
  if (address > size_ || size > size_ - address) {
    return absl::OutOfRangeError(
        absl::StrFormat("%#x bytes at %#x; there is RAM up to %#x", size, address, size_));
  }
  return absl::OkStatus();
}

}  // namespace nestor::guest
