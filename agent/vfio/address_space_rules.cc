#include "agent/vfio/address_space_rules.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "agent/core/kernel_error.h"

namespace nestor::agent {
namespace {

absl::Status NotAttached(absl::string_view message) {
  return WithReason(absl::FailedPreconditionError(message), "DEVICE_NOT_ATTACHED");
}

std::string Describe(const BindingKey& key) {
  return key.pasid == 0 ? absl::StrCat("the whole of ", key.device)
                        : absl::StrCat("pasid ", key.pasid, " of ", key.device);
}

std::string Describe(const Bdf& device, const MemoryRegion& region) {
  return absl::StrCat("guest memory 0x", absl::Hex(region.guest_address), " size 0x",
                      absl::Hex(region.size), " of ", device);
}

}  // namespace

absl::Status DeviceNotAttached(const Bdf& device) {
  return NotAttached(absl::StrCat(device, " is not attached"));
}

absl::Status NoDeviceAttached() { return NotAttached("no device is attached"); }

absl::Status NothingToDetach(const Bdf& device) {
  return absl::NotFoundError(absl::StrCat(device, " is not attached"));
}

absl::Status AlreadyAttached(const Bdf& device) {
  return absl::AlreadyExistsError(absl::StrCat(device, " is attached"));
}

absl::Status StillBound(const Bdf& device) {
  return absl::FailedPreconditionError(absl::StrCat(device, " still has bindings"));
}

absl::Status NotBound(const BindingKey& key) {
  return absl::NotFoundError(absl::StrCat("nothing is bound to ", Describe(key)));
}

absl::Status AlreadyBound(const BindingKey& key) {
  return WithReason(
      absl::AlreadyExistsError(absl::StrCat("something is bound to ", Describe(key), " already")),
      "PASID_CONFLICT");
}

absl::Status PasidAlreadyAllocated(uint32_t pasid) {
  return absl::AlreadyExistsError(absl::StrCat("pasid ", pasid, " is allocated"));
}

bool HasBindings(const AddressSpaceState& state, const Bdf& device) {
  const auto first = state.bindings.lower_bound({device, 0});
  return first != state.bindings.end() && first->first.device == device;
}

absl::Status CheckMapped(const AddressSpaceState& state, const Bdf& device,
                         const MemoryRegion& region) {
  const auto memory = state.memory.find(device);
  if (memory != state.memory.end() && memory->second.contains(region)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(Describe(device, region), " is not mapped as such"));
}

void EraseRegion(const Bdf& device, const MemoryRegion& region, AddressSpaceState* state) {
  const auto memory = state->memory.find(device);
  memory->second.erase(region);
  if (memory->second.empty()) state->memory.erase(memory);
}

absl::Status CheckUnmapped(const Bdf& device, const MemoryRegion& region, uint64_t unmapped) {
  if (unmapped == region.size) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("only ", unmapped, " bytes were mapped of ", Describe(device, region)));
}

absl::Status CheckMayFreePasid(const AddressSpaceState& state, uint32_t pasid) {
  if (!state.pasids.contains(pasid)) {
    return absl::NotFoundError(absl::StrCat("pasid ", pasid, " is not allocated here"));
  }
  for (const auto& [key, table] : state.bindings) {
    if (key.pasid == pasid) return StillBound(key.device);
  }
  return absl::OkStatus();
}

absl::Status CheckPasidAllocated(const AddressSpaceState& state, uint32_t pasid) {
  if (state.pasids.contains(pasid)) return absl::OkStatus();
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat("pasid ", pasid, " is not allocated here")),
      "PASID_NOT_ALLOCATED");
}

absl::Status CheckInvalidationRange(uint64_t address, uint64_t size) {
  if (size == 0 || address + (size - 1) >= address) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("0x", absl::Hex(address), " size 0x", absl::Hex(size), " goes beyond 2^64"));
}

}  // namespace nestor::agent
