#include "agent/vfio/iommufd_address_space.h"

#include <algorithm>
#include <utility>

#include "agent/core/kernel_error.h"
#include "agent/vfio/address_space_rules.h"
#include "agent/vfio/binding_validation.h"
#include "api/support/status_macros.h"

namespace nestor::agent {

IommufdAddressSpace::IommufdAddressSpace(kernel::Syscalls& syscalls, const IommufdSeams& seams,
                                         AttachedDevices& attached_devices)
    : syscalls_(syscalls), seams_(seams), attached_devices_(attached_devices) {}

IommufdAddressSpace::~IommufdAddressSpace() {
  while (!nests_.empty()) Release(nests_.begin()->first);
}

absl::StatusOr<IommufdNest*> IommufdAddressSpace::Find(const Bdf& device) {
  const auto found = nests_.find(device);
  if (found == nests_.end()) return DeviceNotAttached(device);
  return found->second.get();
}

absl::Status IommufdAddressSpace::Attach(const Bdf& device) {
  if (nests_.contains(device)) return AlreadyAttached(device);
  if (iommufd_ == nullptr) {
    ASSIGN_OR_RETURN(iommufd_, OpenIommufd(syscalls_, device));
  }
  absl::Status status = OpenInto(device);
  if (nests_.empty()) iommufd_.reset();
  return status;
}

absl::Status IommufdAddressSpace::OpenInto(const Bdf& device) {
  ASSIGN_OR_RETURN(std::unique_ptr<IommufdNest> nest,
                   OpenIommufdNest(syscalls_, seams_, *iommufd_, device));
  RETURN_IF_ERROR(nest->AttachToStage2());
  attached_devices_.Insert(device, nest->capabilities());
  nests_.emplace(device, std::move(nest));
  state_.devices.insert(device);
  return absl::OkStatus();
}

// Without a device the iommufd holds nothing, and a new one has no ids that were used before.
void IommufdAddressSpace::Release(const Bdf& device) {
  state_.memory.erase(device);
  state_.devices.erase(device);
  attached_devices_.Erase(device);
  nests_.erase(device);
  if (nests_.empty()) iommufd_.reset();
}

absl::Status IommufdAddressSpace::Detach(const Bdf& device) {
  if (!nests_.contains(device)) return NothingToDetach(device);
  if (HasBindings(state_, device)) return StillBound(device);
  if (nests_.size() == 1) state_.pasids.clear();
  // A copy, since `device` may be a part of what goes.
  Release(Bdf(device));
  return absl::OkStatus();
}

absl::Status IommufdAddressSpace::Map(const Bdf& device, const MemoryRegion& region) {
  ASSIGN_OR_RETURN(IommufdNest * nest, Find(device));
  RETURN_IF_ERROR(nest->Map(region));
  state_.memory[device].insert(region);
  return absl::OkStatus();
}

absl::Status IommufdAddressSpace::Unmap(const Bdf& device, const MemoryRegion& region) {
  ASSIGN_OR_RETURN(IommufdNest * nest, Find(device));
  RETURN_IF_ERROR(CheckMapped(state_, device, region));
  ASSIGN_OR_RETURN(const uint64_t unmapped, nest->Unmap(region));
  EraseRegion(device, region, &state_);
  return CheckUnmapped(device, region, unmapped);
}

// Each device has PASIDs of its own, so that the kernel has nothing to reserve; binding asks
// whether the one device has this one.
absl::Status IommufdAddressSpace::AllocatePasid(uint32_t pasid) {
  if (nests_.empty()) return NoDeviceAttached();
  if (state_.pasids.contains(pasid)) return PasidAlreadyAllocated(pasid);
  const auto& [device, widest] =
      *std::max_element(nests_.begin(), nests_.end(), [](const auto& a, const auto& b) {
        return a.second->capabilities().pasid_bits < b.second->capabilities().pasid_bits;
      });
  RETURN_IF_ERROR(ValidatePasid(pasid, widest->capabilities()));
  state_.pasids.insert(pasid);
  return absl::OkStatus();
}

absl::Status IommufdAddressSpace::FreePasid(uint32_t pasid) {
  RETURN_IF_ERROR(CheckMayFreePasid(state_, pasid));
  state_.pasids.erase(pasid);
  return absl::OkStatus();
}

// The kernel takes any root at all and leaves it to the device's faults.
absl::StatusOr<IommufdNest*> IommufdAddressSpace::PrepareBind(const BindingKey& key,
                                                              const PageTable& table) {
  ASSIGN_OR_RETURN(IommufdNest * nest, Find(key.device));
  RETURN_IF_ERROR(ValidateBinding(key, table, nest->capabilities()));
  const auto memory = state_.memory.find(key.device);
  RETURN_IF_ERROR(ValidateRootInMemory(
      table, memory == state_.memory.end() ? std::set<MemoryRegion>() : memory->second));
  if (key.pasid != 0) RETURN_IF_ERROR(CheckPasidAllocated(state_, key.pasid));
  return nest;
}

absl::Status IommufdAddressSpace::Bind(const BindingKey& key, const PageTable& table) {
  ASSIGN_OR_RETURN(IommufdNest * nest, PrepareBind(key, table));
  if (state_.bindings.contains(key)) return AlreadyBound(key);
  RETURN_IF_ERROR(nest->Bind(key.pasid, table));
  state_.bindings[key] = table;
  return absl::OkStatus();
}

absl::Status IommufdAddressSpace::Replace(const BindingKey& key, const PageTable& table) {
  ASSIGN_OR_RETURN(IommufdNest * nest, PrepareBind(key, table));
  const auto bound = state_.bindings.find(key);
  if (bound == state_.bindings.end()) return NotBound(key);
  const absl::Status status = nest->Replace(key.pasid, table);
  if (status.ok()) bound->second = table;
  if (absl::IsDataLoss(status)) state_.bindings.erase(bound);
  return status;
}

absl::Status IommufdAddressSpace::Unbind(const BindingKey& key) {
  ASSIGN_OR_RETURN(IommufdNest * nest, Find(key.device));
  const auto bound = state_.bindings.find(key);
  if (bound == state_.bindings.end()) return NotBound(key);
  const absl::Status status = nest->Unbind(key.pasid);
  if (status.ok() || absl::IsDataLoss(status)) state_.bindings.erase(bound);
  return status;
}

absl::Status IommufdAddressSpace::Invalidate(const BindingKey& key, uint64_t address,
                                             uint64_t size) {
  ASSIGN_OR_RETURN(IommufdNest * nest, Find(key.device));
  if (!state_.bindings.contains(key)) return NotBound(key);
  RETURN_IF_ERROR(CheckInvalidationRange(address, size));
  return nest->Invalidate(key.pasid, address, size);
}

absl::StatusOr<size_t> IommufdAddressSpace::ReadRegion(const Bdf& device, uint32_t region,
                                                       uint64_t offset, void* buffer, size_t size) {
  ASSIGN_OR_RETURN(IommufdNest * nest, Find(device));
  return nest->vfio().Read(region, offset, buffer, size);
}

absl::StatusOr<size_t> IommufdAddressSpace::WriteRegion(const Bdf& device, uint32_t region,
                                                        uint64_t offset, const void* buffer,
                                                        size_t size) {
  ASSIGN_OR_RETURN(IommufdNest * nest, Find(device));
  return nest->vfio().Write(region, offset, buffer, size);
}

absl::StatusOr<uint64_t> IommufdAddressSpace::RegionSize(const Bdf& device, uint32_t region) {
  ASSIGN_OR_RETURN(IommufdNest * nest, Find(device));
  return nest->vfio().RegionSize(region);
}

absl::Status IommufdAddressSpace::Reset(const Bdf& device) {
  ASSIGN_OR_RETURN(IommufdNest * nest, Find(device));
  if (HasBindings(state_, device)) return StillBound(device);
  return nest->vfio().Reset();
}

}  // namespace nestor::agent
