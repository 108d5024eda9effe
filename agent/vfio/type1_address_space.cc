#include "agent/vfio/type1_address_space.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"
#include "agent/vfio/binding_validation.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

absl::Status NotBound(const BindingKey& key) {
  return absl::NotFoundError(
      absl::StrCat("nothing is bound to pasid ", key.pasid, " of ", key.device));
}

absl::Status StillBound(const Bdf& device) {
  return absl::FailedPreconditionError(absl::StrCat(device, " still has bindings"));
}

absl::Status NotAttached(absl::string_view message) {
  return WithReason(absl::FailedPreconditionError(message), "DEVICE_NOT_ATTACHED");
}

std::string DescribeRegion(const Bdf& device, const MemoryRegion& region) {
  return absl::StrCat("guest memory 0x", absl::Hex(region.guest_address), " size 0x",
                      absl::Hex(region.size), " of ", device);
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
  if (found == attachments_.end()) return NotAttached(absl::StrCat(device, " is not attached"));
  return &found->second;
}

bool Type1AddressSpace::HasBindings(const Bdf& device) const {
  const auto first = state_.bindings.lower_bound({device, 0});
  return first != state_.bindings.end() && first->first.device == device;
}

absl::Status Type1AddressSpace::Attach(const Bdf& device) {
  if (attachments_.contains(device)) {
    return absl::AlreadyExistsError(absl::StrCat(device, " is attached"));
  }
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
  if (!attachments_.contains(device)) {
    return absl::NotFoundError(absl::StrCat(device, " is not attached"));
  }
  if (HasBindings(device)) return StillBound(device);
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
  RETURN_IF_ERROR(attachment->container->Map(region));
  state_.memory[device].insert(region);
  return absl::OkStatus();
}

absl::Status Type1AddressSpace::Unmap(const Bdf& device, const MemoryRegion& region) {
  ASSIGN_OR_RETURN(Attachment * attachment, Find(device));
  const auto memory = state_.memory.find(device);
  if (memory == state_.memory.end() || !memory->second.contains(region)) {
    return absl::NotFoundError(
        absl::StrCat(DescribeRegion(device, region), " is not mapped as such"));
  }
  ASSIGN_OR_RETURN(const uint64_t unmapped, attachment->container->Unmap(region));
  memory->second.erase(region);
  if (memory->second.empty()) state_.memory.erase(memory);
  if (unmapped == region.size) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("only ", unmapped, " bytes were mapped of ", DescribeRegion(device, region)));
}

absl::Status Type1AddressSpace::AllocatePasid(uint32_t pasid) {
  if (attachments_.empty()) return NotAttached("no device is attached");
  if (state_.pasids.contains(pasid)) {
    return absl::AlreadyExistsError(absl::StrCat("pasid ", pasid, " is allocated"));
  }
  Type1Container& container = *attachments_.begin()->second.container;
  RETURN_IF_ERROR(ValidatePasid(pasid, container.capabilities()));
  RETURN_IF_ERROR(container.AllocatePasid(pasid));
  state_.pasids.insert(pasid);
  return absl::OkStatus();
}

absl::Status Type1AddressSpace::FreePasid(uint32_t pasid) {
  if (!state_.pasids.contains(pasid)) {
    return absl::NotFoundError(absl::StrCat("pasid ", pasid, " is not allocated here"));
  }
  for (const auto& [key, table] : state_.bindings) {
    if (key.pasid == pasid) return StillBound(key.device);
  }
  RETURN_IF_ERROR(attachments_.begin()->second.container->FreePasid(pasid));
  state_.pasids.erase(pasid);
  return absl::OkStatus();
}

absl::StatusOr<Type1Container*> Type1AddressSpace::PrepareBind(const BindingKey& key,
                                                               const PageTable& table) {
  ASSIGN_OR_RETURN(Attachment * attachment, Find(key.device));
  RETURN_IF_ERROR(ValidateVtdBinding(key, table, attachment->container->capabilities()));
  if (!state_.pasids.contains(key.pasid)) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat("pasid ", key.pasid, " is not allocated here")),
        "PASID_NOT_ALLOCATED");
  }
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
  if (state_.bindings.contains(key)) {
    return WithReason(absl::AlreadyExistsError(absl::StrCat("pasid ", key.pasid, " of ", key.device,
                                                            " is already bound")),
                      "PASID_CONFLICT");
  }
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
  if (size == 0) return attachment->container->Invalidate(key.pasid);
  if (address + (size - 1) < address) {
    return absl::InvalidArgumentError(
        absl::StrCat("0x", absl::Hex(address), " size 0x", absl::Hex(size), " goes beyond 2^64"));
  }
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
  if (HasBindings(device)) return StillBound(device);
  return attachment->device.Reset();
}

}  // namespace nestor::agent
