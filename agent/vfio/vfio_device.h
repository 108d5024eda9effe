// A device that VFIO has handed over: its regions and its reset.
#pragma once

#include <cstdint>
#include <map>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/host_state.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/vfio_file.h"

namespace nestor::agent {

// Owns the device's descriptor; not thread-safe. Regions are numbered as
// VFIO_DEVICE_GET_REGION_INFO numbers them (0-5 BARs, 7 configuration space).
class VfioDevice {
 public:
  // Takes over the device descriptor in `file`, of `syscalls`, which must outlive this.
  VfioDevice(kernel::Syscalls& syscalls, VfioFile file);

  // For other calls on the descriptor.
  const VfioFile& file() const { return file_; }

  // Bytes; 0: the device has none of that index.
  absl::StatusOr<uint64_t> RegionSize(uint32_t region);
  // The bytes moved, which may be fewer than asked for. OUT_OF_RANGE: not inside the region.
  absl::StatusOr<size_t> Read(uint32_t region, uint64_t offset, void* buffer, size_t size);
  absl::StatusOr<size_t> Write(uint32_t region, uint64_t offset, const void* buffer, size_t size);
  // UNIMPLEMENTED: the function has no reset of its own. UNAVAILABLE: it failed.
  absl::Status Reset();

 private:
  struct Region {
    uint64_t size = 0;
    uint64_t file_offset = 0;
  };
  absl::StatusOr<Region> GetRegion(uint32_t index);
  // Where [offset, offset + size) of a region lies in the file.
  absl::StatusOr<uint64_t> FileOffset(uint32_t region, uint64_t offset, size_t size);
  absl::StatusOr<size_t> Moved(const char* operation, uint32_t region, ssize_t result) const;

  kernel::Syscalls& syscalls_;
  VfioFile file_;
  std::map<uint32_t, Region> regions_;  // asked once; they last as long as the descriptor
};

}  // namespace nestor::agent
