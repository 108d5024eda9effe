#include "agent/vfio/type1_address_space.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"
#include "agent/vfio/address_space_rules.h"
#include "agent/vfio/binding_validation.h"
#include "agent/vfio/memory_lock.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

// As the kernel counts them against the limit: once for each container.
uint64_t MappedBytes(const AddressSpaceState& state) {
  uint64_t bytes = 0;
  for (const auto& [device, regions] : state.memory) {
    for (const MemoryRegion& region : regions) bytes += region.size;
  }
  return bytes;
}

}  // namespace

Type1AddressSpace::Type1AddressSpace(kernel::Syscalls& syscalls, AttachedDevices& attached_devices)
    : syscalls_(syscalls), attached_devices_(attached_devices) {}

// A step that fails is left to the ones that follow: a freed PASID is unbound, a closed
// group unbinds and unmaps, and the last container of the process frees its PASIDs.
Type1AddressSpace::~Type1AddressSpace() {
  for (const auto& [key, table] : state_.bindings) {
    (void)attachments_.at(key.device).container->Unbind(key.pasid, table);
  }
  for (const uint32_t pasid : state_.pasids) {
    (void)attachments_.begin()->second.container->FreePasid(pasid);
  }
  while (!attachments_.empty()) Release(attachments_.begin()->first);
}

absl::StatusOr<Type1AddressSpace::Attachment*> Type1AddressSpace::Find(const Bdf& device) {
  const auto found = attachments_.find(device);
  if (found == attachments_.end()) return DeviceNotAttached(device);
  return &found->second;
}

absl::Status Type1AddressSpace::Attach(const Bdf& device) {
  if (attachments_.contains(device)) return AlreadyAttached(device);
  ASSIGN_OR_RETURN(std::unique_ptr<Type1Container> container,
                   Type1Container::Open(syscalls_, device));
  ASSIGN_OR_RETURN(VfioDevice opened, container->OpenDevice());
  attached_devices_.Insert(device, container->capabilities());
  attachments_.emplace(device, Attachment{std::move(container), std::move(opened)});
  state_.devices.insert(device);
  return absl::OkStatus();
}

void Type1AddressSpace::Release(const Bdf& device) {
  const auto attachment = attachments_.find(device);
  for (const MemoryRegion& region : state_.memory[device]) {
    (void)attachment->second.container->Unmap(region);
  }
  state_.memory.erase(device);
  state_.devices.erase(device);
  attached_devices_.Erase(device);
  attachments_.erase(attachment);
}

absl::Status Type1AddressSpace::Detach(const Bdf& device) {
  if (!attachments_.contains(device)) return NothingToDetach(device);
  if (HasBindings(state_, device)) return StillBound(device);
  // PASIDs belong to the process: without a container of ours nobody could free them while
  // another address space keeps the process's set alive.
  while (attachments_.size() == 1 && !state_.pasids.empty()) {
    RETURN_IF_ERROR(FreePasid(*state_.pasids.begin()));
  }
  Release(device);
  return absl::OkStatus();
}

absl::Status Type1AddressSpace::Map(const Bdf& device, const MemoryRegion& region) {
  ASSIGN_OR_RETURN(Attachment * attachment, Find(device));
  RETURN_IF_ERROR(
      CheckMemoryLock(ReadMemoryLockLimit(syscalls_), MappedBytes(state_) + region.size));
  RETURN_IF_ERROR(attachment->container->Map(region));
  state_.memory[device].insert(region);
  return absl::OkStatus();
}

absl::Status Type1AddressSpace::Unmap(const Bdf& device, const MemoryRegion& region) {
  ASSIGN_OR_RETURN(Attachment * attachment, Find(device));
  RETURN_IF_ERROR(CheckMapped(state_, device, region));
  ASSIGN_OR_RETURN(const uint64_t unmapped, attachment->container->Unmap(region));
  EraseRegion(device, region, &state_);
  return CheckUnmapped(device, region, unmapped);
}

absl::Status Type1AddressSpace::AllocatePasid(uint32_t pasid) {
  if (attachments_.empty()) return NoDeviceAttached();
  if (state_.pasids.contains(pasid)) return PasidAlreadyAllocated(pasid);
  Type1Container& container = *attachments_.begin()->second.container;
  RETURN_IF_ERROR(ValidatePasid(pasid, container.capabilities()));
  RETURN_IF_ERROR(container.AllocatePasid(pasid));
  state_.pasids.insert(pasid);
  return absl::OkStatus();
}

absl::Status Type1AddressSpace::FreePasid(uint32_t pasid) {
  RETURN_IF_ERROR(CheckMayFreePasid(state_, pasid));
  RETURN_IF_ERROR(attachments_.begin()->second.container->FreePasid(pasid));
  state_.pasids.erase(pasid);
  return absl::OkStatus();
}

absl::StatusOr<Type1Container*> Type1AddressSpace::PrepareBind(const BindingKey& key,
                                                               const PageTable& table) {
  ASSIGN_OR_RETURN(Attachment * attachment, Find(key.device));
  RETURN_IF_ERROR(ValidateBinding(key, table, attachment->container->capabilities()));
  RETURN_IF_ERROR(CheckPasidAllocated(state_, key.pasid));
  return attachment->container.get();
}

absl::Status Type1AddressSpace::BindUnbound(Type1Container& container, const BindingKey& key,
                                            const PageTable& table) {
  absl::Status status = container.Bind(key.pasid, table);
  if (status.ok()) {
    state_.bindings[key] = table;
    return status;
  }
  // A failed bind may have left this PASID bound or unbound; only an unbind makes it known.
  (void)container.Unbind(key.pasid, table);
  return status;
}

absl::Status Type1AddressSpace::Bind(const BindingKey& key, const PageTable& table) {
  ASSIGN_OR_RETURN(Type1Container * container, PrepareBind(key, table));
  if (state_.bindings.contains(key)) return AlreadyBound(key);
  return BindUnbound(*container, key, table);
}

absl::Status Type1AddressSpace::Replace(const BindingKey& key, const PageTable& table) {
  ASSIGN_OR_RETURN(Type1Container * container, PrepareBind(key, table));
  const auto bound = state_.bindings.find(key);
  if (bound == state_.bindings.end()) return NotBound(key);
  const PageTable old = bound->second;
  RETURN_IF_ERROR(Unbind(key));
  absl::Status status = BindUnbound(*container, key, table);
  if (status.ok()) return status;
  const absl::Status restored = BindUnbound(*container, key, old);
  if (restored.ok()) return status;
  return WithMessage(status, absl::StatusCode::kDataLoss,
                     absl::StrCat("the new root was refused and the old one could not be bound "
                                  "again: ",
                                  status.message(), "; ", restored.message()));
}

absl::Status Type1AddressSpace::Unbind(const BindingKey& key) {
  ASSIGN_OR_RETURN(Attachment * attachment, Find(key.device));
  const auto bound = state_.bindings.find(key);
  if (bound == state_.bindings.end()) return NotBound(key);
  RETURN_IF_ERROR(attachment->container->Unbind(key.pasid, bound->second));
  state_.bindings.erase(bound);
  return absl::OkStatus();
}

absl::Status Type1AddressSpace::Invalidate(const BindingKey& key, uint64_t address, uint64_t size) {
  ASSIGN_OR_RETURN(Attachment * attachment, Find(key.device));
  if (!state_.bindings.contains(key)) return NotBound(key);
  RETURN_IF_ERROR(CheckInvalidationRange(address, size));
  if (size == 0) return attachment->container->Invalidate(key.pasid);
  return attachment->container->InvalidateRange(key.pasid, address, size);
}

absl::StatusOr<size_t> Type1AddressSpace::ReadRegion(const Bdf& device, uint32_t region,
                                                     uint64_t offset, void* buffer, size_t size) {
  ASSIGN_OR_RETURN(Attachment * attachment, Find(device));
  return attachment->device.Read(region, offset, buffer, size);
}

absl::StatusOr<size_t> Type1AddressSpace::WriteRegion(const Bdf& device, uint32_t region,
                                                      uint64_t offset, const void* buffer,
                                                      size_t size) {
  ASSIGN_OR_RETURN(Attachment * attachment, Find(device));
  return attachment->device.Write(region, offset, buffer, size);
}

absl::StatusOr<uint64_t> Type1AddressSpace::RegionSize(const Bdf& device, uint32_t region) {
  ASSIGN_OR_RETURN(Attachment * attachment, Find(device));
  return attachment->device.RegionSize(region);
}

absl::Status Type1AddressSpace::Reset(const Bdf& device) {
  ASSIGN_OR_RETURN(Attachment * attachment, Find(device));
  if (HasBindings(state_, device)) return StillBound(device);
  return attachment->device.Reset();
}

}  // namespace nestor::agent
