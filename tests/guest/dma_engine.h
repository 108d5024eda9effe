// The guest's driver of the simulated device (agent/kernel/sim_device.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tests/guest/vfio_user_client.h"

namespace nestor::guest {

// Why the IOMMU stopped an access: the kernel's IOMMU_FAULT_REASON_*, which
// kernel::FaultReasonName names.
struct DmaFault {
  uint32_t reason = 0;
  uint64_t address = 0;  // as the device used it
  bool operator==(const DmaFault&) const = default;
};

// How an access ended: with a fault, or with the bytes that were moved.
struct DmaResult {
  std::optional<DmaFault> fault;
  std::string data;  // of a read
};

// Has the device read and write guest memory. Not thread-safe.
class DmaEngine {
 public:
  // `client`: the device's connection, which must outlive this.
  explicit DmaEngine(VfioUserClient& client) : client_(client) {}

  // Has the device read `size` bytes at `address`, a guest virtual address of `pasid`, or
  // a guest physical one without it. INVALID_ARGUMENT: more than the device moves at once.
  // FAILED_PRECONDITION: it is no such device, or answers what it never should. Errors of
  // the connection are passed on.
  absl::StatusOr<DmaResult> Read(std::optional<uint32_t> pasid, uint64_t address, uint32_t size);
  // Has it write `data`; errors as Read.
  absl::StatusOr<DmaResult> Write(std::optional<uint32_t> pasid, uint64_t address,
                                  absl::string_view data);

 private:
  absl::Status CheckDevice(uint64_t size);
  // Runs a command. A fault, or nothing where all went well.
  absl::StatusOr<std::optional<DmaFault>> Run(uint64_t command, std::optional<uint32_t> pasid,
                                              uint64_t address, uint64_t size);
  absl::StatusOr<uint64_t> ReadRegister(uint64_t offset);
  absl::Status WriteRegister(uint64_t offset, uint64_t value);

  VfioUserClient& client_;
};

}  // namespace nestor::guest
