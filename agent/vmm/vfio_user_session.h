// What one monitor says about one device, from VERSION to the end of its connection.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "agent/core/host_state.h"
#include "agent/shim/shim.h"
#include "agent/vmm/interrupt_table.h"
#include "agent/vmm/memory_table.h"
#include "agent/vmm/message_stream.h"
#include "agent/vmm/vfio_user_protocol.h"

namespace nestor::agent {

// Turns vfio-user messages into calls of the shim and their results into replies. Blocks
// as long as the shim does; not thread-safe. The machine's monitor counts as connected
// from a successful VERSION until the session goes, which tells the shim.
class VfioUserSession {
 public:
  VfioUserSession(std::shared_ptr<Shim> shim, Bdf device);
  ~VfioUserSession();
  VfioUserSession(const VfioUserSession&) = delete;
  VfioUserSession& operator=(const VfioUserSession&) = delete;

  // Acts on one message and gives the bytes of its reply, empty where none is wanted. A
  // request that cannot be met gets an error reply. A status other than OK: the peer does
  // not follow the protocol and the connection is to be closed.
  absl::StatusOr<std::string> Handle(Message message);

  // Eventfds that the session holds.
  size_t eventfds() const { return interrupts_.size(); }

 private:
  // Each returns the reply's payload, or why the request fails.
  absl::StatusOr<std::string> Dispatch(Message& message);
  absl::StatusOr<std::string> Agree(absl::string_view payload);
  absl::StatusOr<std::string> MapMemory(Message& message);
  absl::StatusOr<std::string> UnmapMemory(absl::string_view payload);
  absl::StatusOr<std::string> DescribeDevice(absl::string_view payload);
  absl::StatusOr<std::string> DescribeRegion(absl::string_view payload);
  absl::StatusOr<std::string> DescribeInterrupts(absl::string_view payload);
  absl::StatusOr<std::string> SetInterrupts(Message& message);
  absl::StatusOr<std::string> ReadRegion(absl::string_view payload);
  absl::StatusOr<std::string> WriteRegion(absl::string_view payload);
  absl::StatusOr<std::string> ResetDevice();

  // The access that `payload` begins with, if it lies inside the region.
  absl::StatusOr<vfio_user::RegionAccess> CheckedAccess(absl::string_view payload);
  // Asked of the shim once, since it is part of every access.
  absl::StatusOr<uint64_t> RegionSize(uint32_t region);

  void LogFailure(const std::string& what, const absl::Status& why);

  const std::shared_ptr<Shim> shim_;
  const Bdf device_;
  bool agreed_ = false;  // VERSION succeeded
  uint64_t failures_ = 0;
  MemoryTable memory_;
  InterruptTable interrupts_;
  std::array<std::optional<uint64_t>, vfio_user::kPciRegions> region_sizes_;
};

}  // namespace nestor::agent
