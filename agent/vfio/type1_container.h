// A VFIO container with one device's IOMMU group in it and nesting enabled.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/host_state.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/vfio_device.h"
#include "agent/vfio/vfio_file.h"

namespace nestor::agent {

// The calls that a nesting container takes, one kernel call each. It keeps no record of
// what was done: that is its owner's (agent/vfio/type1_address_space.h). Destruction takes
// the group out and closes everything, which ends mappings and bindings. Not thread-safe.
class Type1Container {
 public:
  // Opens container and group of `device`, enables nesting and asks what it can do.
  // Refusals carry the reasons of agent/vfio/type1_backend.h.
  static absl::StatusOr<std::unique_ptr<Type1Container>> Open(kernel::Syscalls& syscalls,
                                                              const Bdf& device);
  ~Type1Container();
  Type1Container(const Type1Container&) = delete;
  Type1Container& operator=(const Type1Container&) = delete;

  const DeviceCapabilities& capabilities() const { return capabilities_; }

  // Takes the device's own descriptor from the group; VFIO then enables and resets it.
  absl::StatusOr<VfioDevice> OpenDevice();

  absl::Status Map(const MemoryRegion& region);
  // The bytes that were mapped there and are no more.
  absl::StatusOr<uint64_t> Unmap(const MemoryRegion& region);

  // Exactly that PASID. RESOURCE_EXHAUSTED PASID_TAKEN_ON_HOST: not free, or over quota.
  // INTERNAL: the kernel gave another number, which was freed again.
  absl::Status AllocatePasid(uint32_t pasid);
  absl::Status FreePasid(uint32_t pasid);

  // Where Bind fails the kernel may have dropped what was bound there before.
  absl::Status Bind(uint32_t pasid, const PageTable& table);
  // `table` is what was bound: the kernel ignores it but checks its form, and answers
  // success whatever becomes of the unbind.
  absl::Status Unbind(uint32_t pasid, const PageTable& table);

  // Drops cached translations of a PASID: all of them, or at least those that [address,
  // address + size) touches; size > 0, and the range does not wrap.
  absl::Status Invalidate(uint32_t pasid);
  absl::Status InvalidateRange(uint32_t pasid, uint64_t address, uint64_t size);

 private:
  Type1Container(kernel::Syscalls& syscalls, const Bdf& device, VfioFile container, VfioFile group,
                 const DeviceCapabilities& capabilities);

  kernel::Syscalls& syscalls_;
  const Bdf device_;
  VfioFile container_;
  VfioFile group_;
  const DeviceCapabilities capabilities_;
};

}  // namespace nestor::agent
