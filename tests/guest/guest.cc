#include "tests/guest/guest.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/vmm/vfio_user_protocol.h"
#include "api/support/status_macros.h"

namespace nestor::guest {
namespace {

constexpr uint64_t kPageSize = 4096;
// Where QEMU's q35 has its firmware.
constexpr uint64_t kFirmwareAddress = 0xfffc0000;
constexpr uint64_t kFirmwareSize = 256 << 10;

}  // namespace

absl::StatusOr<std::unique_ptr<Guest>> Guest::Create(uint64_t memory_size) {
  if (memory_size % (4 * kPageSize) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("memory of ", memory_size, " bytes is not a multiple of 16 KiB"));
  }
  ASSIGN_OR_RETURN(GuestMemory memory, GuestMemory::Create(memory_size));
  return std::unique_ptr<Guest>(new Guest(std::move(memory)));
}

Guest::Guest(GuestMemory memory)
    : memory_(std::move(memory)), page_tables_(memory_, memory_.size() / 4 * 3, memory_.size()) {}

absl::Status Guest::MapText(const AddressSpaceRoot& space, uint64_t virtual_address,
                            absl::string_view text) {
  RETURN_IF_ERROR(page_tables_.CreateRoot(space));
  return RemapText(space, virtual_address, text);
}

absl::Status Guest::RemapText(const AddressSpaceRoot& space, uint64_t virtual_address,
                              absl::string_view text) {
  if (text.size() > kPageSize) return absl::InvalidArgumentError("a text of over 4 KiB");
  ASSIGN_OR_RETURN(const uint64_t page, page_tables_.AllocatePage());
  RETURN_IF_ERROR(memory_.Write(page, text));
  return page_tables_.Map(space, virtual_address, page);
}

absl::Status Guest::Connect(const std::string& device, const std::string& socket_path) {
  ASSIGN_OR_RETURN(auto client, VfioUserClient::Connect(socket_path));
  RETURN_IF_ERROR(client->MapMemory(memory_.fd(), 0, 0, memory_.size()));
  RETURN_IF_ERROR(
      client->MapWithoutFd(kFirmwareAddress, kFirmwareSize, agent::vfio_user::kDmaReadable));
  devices_[device] = std::move(client);
  return absl::OkStatus();
}

absl::StatusOr<DmaResult> Guest::DmaRead(const std::string& device, std::optional<uint32_t> pasid,
                                         uint64_t address, uint32_t size) {
  ASSIGN_OR_RETURN(VfioUserClient * monitor, Monitor(device));
  return DmaEngine(*monitor).Read(pasid, address, size);
}

absl::StatusOr<DmaResult> Guest::DmaWrite(const std::string& device, std::optional<uint32_t> pasid,
                                          uint64_t address, absl::string_view data) {
  ASSIGN_OR_RETURN(VfioUserClient * monitor, Monitor(device));
  return DmaEngine(*monitor).Write(pasid, address, data);
}

absl::StatusOr<VfioUserClient*> Guest::Monitor(const std::string& device) {
  const auto found = devices_.find(device);
  if (found == devices_.end()) {
    return absl::NotFoundError(absl::StrCat("device ", device, " is not connected"));
  }
  return found->second.get();
}

}  // namespace nestor::guest
