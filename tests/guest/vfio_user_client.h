// The monitor's side of vfio-user, saying what QEMU says.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "agent/vmm/vfio_user_protocol.h"
#include "api/support/file_descriptor.h"

namespace nestor::guest {

// One device's connection. Calls wait for their reply, at most 10 s (DEADLINE_EXCEEDED). An
// error reply becomes a status by its errno; UNAVAILABLE: the server closed the connection.
// Not thread-safe.
class VfioUserClient {
 public:
  // Connects, and agrees on the version as QEMU does.
  static absl::StatusOr<std::unique_ptr<VfioUserClient>> Connect(const std::string& path);

  absl::Status MapMemory(int fd, uint64_t offset, uint64_t address, uint64_t size);
  // As for firmware or another device's BAR: nothing that could be mapped comes with it.
  absl::Status MapWithoutFd(uint64_t address, uint64_t size, uint32_t flags);
  absl::Status UnmapMemory(uint64_t address, uint64_t size);

  absl::StatusOr<agent::vfio_user::DeviceInfo> GetDeviceInfo();
  absl::StatusOr<agent::vfio_user::RegionInfo> GetRegionInfo(uint32_t region);
  absl::StatusOr<std::string> ReadRegion(uint32_t region, uint64_t offset, uint32_t size);
  absl::Status WriteRegion(uint32_t region, uint64_t offset, absl::string_view data);
  // As WriteRegion, without waiting for a reply: how QEMU writes BARs.
  absl::Status PostRegionWrite(uint32_t region, uint64_t offset, absl::string_view data);
  absl::Status SetIrqs(const agent::vfio_user::SetIrqs& request, const std::vector<int>& eventfds);
  absl::Status Reset();

  // Any command: sends it, with duplicates of `fds`, and gives its reply's payload.
  absl::StatusOr<std::string> Call(agent::vfio_user::Command command, absl::string_view payload,
                                   const std::vector<int>& fds = {});

 private:
  explicit VfioUserClient(FileDescriptor socket) : socket_(std::move(socket)) {}

  absl::Status Send(absl::string_view message, const std::vector<int>& fds);
  absl::StatusOr<std::string> ReceiveBytes(size_t size);

  FileDescriptor socket_;
  uint16_t next_message_id_ = 1;
};

}  // namespace nestor::guest
