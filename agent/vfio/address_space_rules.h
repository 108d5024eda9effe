// What every implementation of AddressSpace refuses by its record alone, in the same words.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "agent/core/host_state.h"

namespace nestor::agent {

// The refusals of agent/vfio/iommu_backend.h, by name.
absl::Status DeviceNotAttached(const Bdf& device);
absl::Status NoDeviceAttached();
absl::Status NothingToDetach(const Bdf& device);
absl::Status AlreadyAttached(const Bdf& device);
absl::Status StillBound(const Bdf& device);
absl::Status NotBound(const BindingKey& key);
absl::Status AlreadyBound(const BindingKey& key);
absl::Status PasidAlreadyAllocated(uint32_t pasid);

// Whether `state` has a binding on `device`.
bool HasBindings(const AddressSpaceState& state, const Bdf& device);
// NOT_FOUND: `state` has no such region on `device`.
absl::Status CheckMapped(const AddressSpaceState& state, const Bdf& device,
                         const MemoryRegion& region);
// Takes a region that is there out of `state`.
void EraseRegion(const Bdf& device, const MemoryRegion& region, AddressSpaceState* state);
// The answer to an unmap of which the kernel did `unmapped` bytes.
absl::Status CheckUnmapped(const Bdf& device, const MemoryRegion& region, uint64_t unmapped);
// NOT_FOUND: not allocated in `state`. FAILED_PRECONDITION: bound.
absl::Status CheckMayFreePasid(const AddressSpaceState& state, uint32_t pasid);
// FAILED_PRECONDITION PASID_NOT_ALLOCATED.
absl::Status CheckPasidAllocated(const AddressSpaceState& state, uint32_t pasid);
// INVALID_ARGUMENT: [address, address + size) goes beyond 2^64.
absl::Status CheckInvalidationRange(uint64_t address, uint64_t size);

}  // namespace nestor::agent
