// The driver of qemu's `edu` device, whose DMA shows where bus addresses lead.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/vfio/vfio_device.h"

namespace nestor::kernel_test {

// The device has a buffer of 4 KiB, copies between that and the bus, and sees addresses of 28
// bits. It tells nobody whether a copy reached anything. Each copy takes qemu a tenth of a
// second. Not thread-safe.
class EduDevice {
 public:
  static constexpr uint16_t kVendor = 0x1234;
  static constexpr uint16_t kDevice = 0x11e8;
  static constexpr uint64_t kBufferSize = 4096;

  // Lets the device master the bus. FAILED_PRECONDITION: it is no edu.
  static absl::StatusOr<EduDevice> Start(agent::VfioDevice device);

  // Copies `size` bytes (at most kBufferSize) from `address` on the bus into the buffer, or
  // from the buffer to there. DEADLINE_EXCEEDED: the device did not finish.
  absl::Status Fetch(uint64_t address, uint64_t size);
  absl::Status Store(uint64_t address, uint64_t size);

 private:
  explicit EduDevice(agent::VfioDevice device) : device_(std::move(device)) {}

  absl::StatusOr<uint32_t> Get(uint64_t offset);
  absl::Status Set(uint64_t offset, uint32_t value);
  absl::Status MasterBus();
  absl::Status Copy(uint64_t source, uint64_t destination, uint64_t size, uint32_t direction);

  agent::VfioDevice device_;
};

}  // namespace nestor::kernel_test
