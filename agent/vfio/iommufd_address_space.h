// A virtual machine's kernel objects in one iommufd, and the record of them.
#pragma once

#include <map>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/host_state.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/attached_devices.h"
#include "agent/vfio/iommu_backend.h"
#include "agent/vfio/iommufd.h"
#include "agent/vfio/iommufd_nest.h"
#include "agent/vfio/iommufd_open.h"

namespace nestor::agent {

// Keeps the record that the kernel does not give back, and so never replaces by binding and
// never takes a detach for proof. The iommufd is open while a device is attached. See the
// port for what each call promises and IommufdBackend for the reasons of refusals.
class IommufdAddressSpace final : public AddressSpace {
 public:
  // All must outlive it.
  IommufdAddressSpace(kernel::Syscalls& syscalls, const IommufdSeams& seams,
                      AttachedDevices& attached_devices);
  // Detaches, unmaps, destroys, closes.
  ~IommufdAddressSpace() override;

  absl::Status Attach(const Bdf& device) override;
  absl::Status Detach(const Bdf& device) override;
  absl::Status Map(const Bdf& device, const MemoryRegion& region) override;
  absl::Status Unmap(const Bdf& device, const MemoryRegion& region) override;
  absl::Status AllocatePasid(uint32_t pasid) override;
  absl::Status FreePasid(uint32_t pasid) override;
  absl::Status Bind(const BindingKey& key, const PageTable& table) override;
  absl::Status Replace(const BindingKey& key, const PageTable& table) override;
  absl::Status Unbind(const BindingKey& key) override;
  absl::Status Invalidate(const BindingKey& key, uint64_t address, uint64_t size) override;
  absl::StatusOr<size_t> ReadRegion(const Bdf& device, uint32_t region, uint64_t offset,
                                    void* buffer, size_t size) override;
  absl::StatusOr<size_t> WriteRegion(const Bdf& device, uint32_t region, uint64_t offset,
                                     const void* buffer, size_t size) override;
  absl::StatusOr<uint64_t> RegionSize(const Bdf& device, uint32_t region) override;
  absl::Status Reset(const Bdf& device) override;
  const AddressSpaceState& state() const override { return state_; }

 private:
  absl::StatusOr<IommufdNest*> Find(const Bdf& device);
  // Whether `table` may be bound there: attached, valid, its root in memory, the PASID
  // allocated.
  absl::StatusOr<IommufdNest*> PrepareBind(const BindingKey& key, const PageTable& table);
  // Opens and attaches `device` in `iommufd_`.
  absl::Status OpenInto(const Bdf& device);
  void Release(const Bdf& device);

  kernel::Syscalls& syscalls_;
  const IommufdSeams& seams_;
  AttachedDevices& attached_devices_;
  std::unique_ptr<Iommufd> iommufd_;  // null: no device is attached
  std::map<Bdf, std::unique_ptr<IommufdNest>> nests_;
  AddressSpaceState state_;
};

}  // namespace nestor::agent
