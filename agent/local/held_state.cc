#include "agent/local/held_state.h"

namespace nestor::agent {
namespace {

v1::HeldDevice ToHeldDevice(const AddressSpaceState& held, const Bdf& device) {
  v1::HeldDevice result;
  result.set_device(device);
  if (const auto memory = held.memory.find(device); memory != held.memory.end()) {
    for (const MemoryRegion& region : memory->second) {
      v1::GuestRegion& shown = *result.add_memory();
      shown.set_guest_address(region.guest_address);
      shown.set_size(region.size);
      shown.set_writable(region.writable);
    }
  }
  for (const auto& [key, table] : held.bindings) {
    if (key.device != device) continue;
    v1::HeldTable& shown = *result.add_tables();
    shown.set_pasid(key.pasid);
    v1::PageTable& page_table = *shown.mutable_page_table();
    page_table.set_format(static_cast<v1::PageTable::Format>(table.format));
    page_table.set_root(table.root);
    page_table.set_address_width(table.address_width);
    page_table.set_supervisor_request(table.supervisor_request);
    page_table.set_extended_access_flag(table.extended_access_flag);
  }
  return result;
}

}  // namespace

v1::HeldState ToHeldState(const ShimInventory& inventory, const SocketOf& socket_of) {
  v1::HeldState state;
  *state.mutable_virtual_machine() = inventory.virtual_machine;
  if (!inventory.fence.incarnation().empty()) *state.mutable_fence() = inventory.fence;
  for (const Bdf& device : inventory.held.devices) {
    v1::HeldDevice& shown = *state.add_devices();
    shown = ToHeldDevice(inventory.held, device);
    shown.set_socket(socket_of(inventory.virtual_machine.name(), device));
  }
  for (const uint32_t pasid : inventory.held.pasids) state.add_pasids(pasid);
  for (const v1::Result& binding : inventory.bindings) *state.add_bindings() = binding;
  return state;
}

}  // namespace nestor::agent
