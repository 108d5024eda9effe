// A stand-in for a virtual machine: what a guest and its monitor do, in this process.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tests/guest/dma_engine.h"
#include "tests/guest/guest_memory.h"
#include "tests/guest/page_table_builder.h"
#include "tests/guest/vfio_user_client.h"

namespace nestor::guest {

// Guest RAM with page tables in it, and the devices that were given to the machine. The last
// quarter of RAM is a pool for tables and pages; the rest is the caller's. Not thread-safe.
class Guest {
 public:
  // `memory_size`: bytes, a multiple of 16 KiB (INVALID_ARGUMENT).
  static absl::StatusOr<std::unique_ptr<Guest>> Create(uint64_t memory_size);

  GuestMemory& memory() { return memory_; }
  PageTableBuilder& page_tables() { return page_tables_; }

  // Makes a page table at `space` that maps one page at `virtual_address`, which holds
  // `text` (at most 4 KiB) and then zeros.
  absl::Status MapText(const AddressSpaceRoot& space, uint64_t virtual_address,
                       absl::string_view text);

  // Maps such a page in a table that is there, in place of what was there.
  absl::Status RemapText(const AddressSpaceRoot& space, uint64_t virtual_address,
                         absl::string_view text);

  // Does what a monitor does at its start: connects to the device's socket and hands over
  // RAM, and firmware without a descriptor. An error leaves the device unconnected.
  absl::Status Connect(const std::string& device, const std::string& socket_path);
  // As when the monitor ends. Unknown devices are ignored.
  void Disconnect(const std::string& device) { devices_.erase(device); }

  // NOT_FOUND: not connected. Else as DmaEngine.
  absl::StatusOr<DmaResult> DmaRead(const std::string& device, std::optional<uint32_t> pasid,
                                    uint64_t address, uint32_t size);
  absl::StatusOr<DmaResult> DmaWrite(const std::string& device, std::optional<uint32_t> pasid,
                                     uint64_t address, absl::string_view data);
  // The device's connection. NOT_FOUND: not connected.
  absl::StatusOr<VfioUserClient*> Monitor(const std::string& device);

 private:
  explicit Guest(GuestMemory memory);

  GuestMemory memory_;
  PageTableBuilder page_tables_;
  std::map<std::string, std::unique_ptr<VfioUserClient>> devices_;
};

}  // namespace nestor::guest
