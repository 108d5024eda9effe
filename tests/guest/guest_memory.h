// The memory of a stand-in for a guest.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "api/support/file_descriptor.h"

namespace nestor::guest {

// A memfd of guest RAM, guest physical addresses 0 to size(), which the guest itself sees
// through a mapping. Not thread-safe; a device may read and write it at any time.
class GuestMemory {
 public:
  // `size`: bytes, a multiple of 4 KiB (INVALID_ARGUMENT).
  static absl::StatusOr<GuestMemory> Create(uint64_t size);
  GuestMemory(GuestMemory&& other) noexcept;
  GuestMemory& operator=(GuestMemory&&) = delete;
  ~GuestMemory();

  uint64_t size() const { return size_; }
  // To hand over; stays owned by this.
  int fd() const { return file_.get(); }

  // OUT_OF_RANGE: not all of it is RAM.
  absl::Status Write(uint64_t address, absl::string_view bytes);
  absl::StatusOr<std::string> Read(uint64_t address, uint64_t size) const;

  // One 8-byte entry, read and written whole, as a table walker wants it.
  absl::Status WriteEntry(uint64_t address, uint64_t value);
  absl::StatusOr<uint64_t> ReadEntry(uint64_t address) const;

 private:
  GuestMemory(FileDescriptor file, char* bytes, uint64_t size);
  absl::Status Check(uint64_t address, uint64_t size) const;

  FileDescriptor file_;
  char* bytes_;
  uint64_t size_;
};

}  // namespace nestor::guest
