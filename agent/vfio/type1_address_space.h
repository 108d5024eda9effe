// A virtual machine's kernel objects over type1 containers, and the record of them.
#pragma once

#include <map>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/host_state.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/attached_devices.h"
#include "agent/vfio/iommu_backend.h"
#include "agent/vfio/type1_container.h"
#include "agent/vfio/vfio_device.h"

namespace nestor::agent {

// Keeps the record that the kernel does not give back, and the rules that follow from it:
// only PASIDs of its own are bound or freed, and nothing is bound twice. See the port for
// what each call promises and Type1Backend for the reasons of refusals.
class Type1AddressSpace final : public AddressSpace {
 public:
  // Both must outlive it.
  Type1AddressSpace(kernel::Syscalls& syscalls, AttachedDevices& attached_devices);
  // Unbinds, frees PASIDs, unmaps, gives the groups back, closes.
  ~Type1AddressSpace() override;

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
  // In order of lifetime: a group with an open device is not given back.
  struct Attachment {
    std::unique_ptr<Type1Container> container;
    VfioDevice device;
  };

  absl::StatusOr<Attachment*> Find(const Bdf& device);
  // Whether `table` may be bound there: attached, valid, the PASID this address space's own.
  absl::StatusOr<Type1Container*> PrepareBind(const BindingKey& key, const PageTable& table);
  // Binds what is not bound. A failure leaves nothing bound.
  absl::Status BindUnbound(Type1Container& container, const BindingKey& key,
                           const PageTable& table);
  // Takes a device out whose bindings and PASIDs are dealt with.
  void Release(const Bdf& device);

  kernel::Syscalls& syscalls_;
  AttachedDevices& attached_devices_;
  std::map<Bdf, Attachment> attachments_;
  AddressSpaceState state_;
};

}  // namespace nestor::agent
