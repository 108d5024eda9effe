#include "agent/shim/shim_message.h"

#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "agent/shim/binding_record.h"

namespace nestor::agent {
namespace {

// Cuts a list into messages.
template <typename Message>
class Pages {
 public:
  Pages() : pages_(1) {}
  // The message that has room for `bytes` more.
  Message& For(size_t bytes) {
    if (used_ + bytes > kPageBytes && used_ > 0) {
      pages_.emplace_back();
      used_ = 0;
    }
    used_ += bytes + kOverhead;
    return pages_.back();
  }
  std::vector<Message> Take() && { return std::move(pages_); }

 private:
  static constexpr size_t kOverhead = 8;  // tag and length of a field

  std::vector<Message> pages_;
  size_t used_ = 0;
};

// More than any message of fixed-size fields and one PCI address takes.
constexpr size_t kSmallMessage = 128;

wire::HeldDevice ToWire(const Bdf& device, const DeviceCapabilities& capabilities) {
  wire::HeldDevice message;
  message.set_device(device);
  message.set_granularity(static_cast<int>(capabilities.granularity));
  message.set_pasid_bits(capabilities.pasid_bits);
  message.set_address_width(capabilities.address_width);
  message.set_five_level(capabilities.five_level);
  message.set_supervisor_request(capabilities.supervisor_request);
  message.set_extended_access_flag(capabilities.extended_access_flag);
  message.set_reason(capabilities.reason);
  message.set_message(capabilities.message);
  return message;
}

DeviceCapabilities FromWire(const wire::HeldDevice& message) {
  return {.granularity = static_cast<NestGranularity>(message.granularity()),
          .pasid_bits = message.pasid_bits(),
          .address_width = message.address_width(),
          .five_level = message.five_level(),
          .supervisor_request = message.supervisor_request(),
          .extended_access_flag = message.extended_access_flag(),
          .reason = message.reason(),
          .message = message.message()};
}

void AddDevices(const ShimInventory& inventory, Pages<wire::Inventory>* pages) {
  for (const Bdf& device : inventory.held.devices) {
    const auto known = inventory.capabilities.find(device);
    const wire::HeldDevice shown = ToWire(
        device, known == inventory.capabilities.end() ? DeviceCapabilities() : known->second);
    *pages->For(shown.ByteSizeLong()).add_devices() = shown;
  }
}

void AddHeld(const AddressSpaceState& held, Pages<wire::Inventory>* pages) {
  for (const auto& [device, regions] : held.memory) {
    for (const MemoryRegion& region : regions) {
      wire::HeldRegion& shown = *pages->For(kSmallMessage).add_memory();
      shown.set_device(device);
      shown.set_guest_address(region.guest_address);
      shown.set_size(region.size);
      shown.set_user_address(region.user_address);
      shown.set_writable(region.writable);
    }
  }
  for (const uint32_t pasid : held.pasids) pages->For(sizeof(pasid)).add_pasids(pasid);
  for (const auto& [key, table] : held.bindings) {
    wire::HeldTable& shown = *pages->For(kSmallMessage).add_tables();
    shown.set_device(key.device);
    shown.set_pasid(key.pasid);
    *shown.mutable_table() = ToMessage(table);
  }
}

AddressSpaceState HeldOf(const wire::Inventory& inventory) {
  AddressSpaceState held;
  for (const wire::HeldDevice& device : inventory.devices()) held.devices.insert(device.device());
  for (const wire::HeldRegion& region : inventory.memory()) {
    held.memory[region.device()].insert({.guest_address = region.guest_address(),
                                         .size = region.size(),
                                         .user_address = region.user_address(),
                                         .writable = region.writable()});
  }
  held.pasids.insert(inventory.pasids().begin(), inventory.pasids().end());
  for (const wire::HeldTable& table : inventory.tables()) {
    held.bindings[{table.device(), table.pasid()}] = TableOf(table.table());
  }
  return held;
}

}  // namespace

wire::Status ToWire(const absl::Status& status) {
  wire::Status message;
  message.set_code(static_cast<int>(status.code()));
  message.set_message(std::string(status.message()));
  status.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
    (*message.mutable_payloads())[std::string(type)] = std::string(payload);
  });
  return message;
}

absl::Status FromWire(const wire::Status& message) {
  absl::Status status(static_cast<absl::StatusCode>(message.code()), message.message());
  for (const auto& [type, payload] : message.payloads()) {
    status.SetPayload(type, absl::Cord(payload));
  }
  return status;
}

wire::MapMemory ToWire(const Bdf& device, const GuestMemory& memory) {
  wire::MapMemory message;
  message.set_device(device);
  message.set_guest_address(memory.guest_address);
  message.set_size(memory.size);
  message.set_offset(memory.offset);
  message.set_writable(memory.writable);
  return message;
}

std::vector<wire::Inventory> ToPages(const ShimInventory& inventory,
                                     const std::set<Bdf>& endpoints) {
  Pages<wire::Inventory> pages;
  *pages.For(inventory.fence.ByteSizeLong()).mutable_fence() = inventory.fence;
  *pages.For(inventory.virtual_machine.ByteSizeLong()).mutable_machine() =
      inventory.virtual_machine;
  for (const v1::Result& binding : inventory.bindings) {
    *pages.For(binding.ByteSizeLong()).add_bindings() = binding;
  }
  for (const Bdf& device : endpoints) pages.For(device.size()).add_endpoints(device);
  AddDevices(inventory, &pages);
  AddHeld(inventory.held, &pages);
  return std::move(pages).Take();
}

ShimInventory FromWire(const wire::Inventory& message) {
  ShimInventory inventory;
  inventory.fence = message.fence();
  inventory.virtual_machine = message.machine();
  inventory.bindings.assign(message.bindings().begin(), message.bindings().end());
  inventory.held = HeldOf(message);
  for (const wire::HeldDevice& device : message.devices()) {
    inventory.capabilities[device.device()] = FromWire(device);
  }
  return inventory;
}

std::vector<wire::Apply> ToPages(const v1::Fence& fence, const v1::DesiredVirtualMachine* machine,
                                 const std::vector<v1::DesiredBinding>& bindings) {
  Pages<wire::Apply> pages;
  *pages.For(fence.ByteSizeLong()).mutable_fence() = fence;
  if (machine != nullptr) *pages.For(machine->ByteSizeLong()).mutable_machine() = *machine;
  for (const v1::DesiredBinding& binding : bindings) {
    *pages.For(binding.ByteSizeLong()).add_bindings() = binding;
  }
  return std::move(pages).Take();
}

std::vector<wire::Report> ToPages(ShimReport report) {
  Pages<wire::Report> pages;
  for (v1::VirtualMachineResult& machine : report.virtual_machines) {
    *pages.For(machine.ByteSizeLong()).add_machines() = std::move(machine);
  }
  for (v1::Result& binding : report.bindings) {
    *pages.For(binding.ByteSizeLong()).add_bindings() = std::move(binding);
  }
  return std::move(pages).Take();
}

ShimReport FromWire(wire::Report message) {
  ShimReport report;
  for (v1::VirtualMachineResult& machine : *message.mutable_machines()) {
    report.virtual_machines.push_back(std::move(machine));
  }
  for (v1::Result& binding : *message.mutable_bindings()) {
    report.bindings.push_back(std::move(binding));
  }
  return report;
}

}  // namespace nestor::agent
