// The port to the kernel's nested translation, one implementation per kernel interface.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "agent/core/host_state.h"

namespace nestor::agent {

// The kernel objects of one virtual machine: its devices, its stage 2, its bindings.
//
// A failed call leaves the state as it was unless its comment says otherwise. Where a kernel
// call failed, the status holds operation, object and errno (GetKernelError); where a client
// must be told a typed cause, it holds a reason (GetReason), both in
// agent/core/kernel_error.h. Calls block as long as the kernel does; not thread-safe: one
// call at a time per address space. Destruction closes everything, which unbinds. A device
// that is not attached is FAILED_PRECONDITION DEVICE_NOT_ATTACHED for every call.
class AddressSpace {
 public:
  virtual ~AddressSpace() = default;

  // Opens the device's group and gives it to a container of its own.
  // ALREADY_EXISTS: attached. FAILED_PRECONDITION: its group holds other devices, is not
  // viable, or the device cannot nest. UNAVAILABLE: busy with another owner. NOT_FOUND: no
  // such device. PERMISSION_DENIED: the agent may not open it.
  virtual absl::Status Attach(const Bdf& device) = 0;
  // Gives the device back. Its mappings go with it, and with the last device the PASIDs; where
  // one of these cannot be freed the device stays, and those freed before are gone.
  // FAILED_PRECONDITION: bindings are left. NOT_FOUND: not attached.
  virtual absl::Status Detach(const Bdf& device) = 0;

  // Puts a region into the stage 2 of `device`. ALREADY_EXISTS: overlaps.
  virtual absl::Status Map(const Bdf& device, const MemoryRegion& region) = 0;
  // Takes exactly that region out. NOT_FOUND: no such region. INTERNAL without a kernel
  // error: the kernel had only a part of it; it is gone all the same.
  virtual absl::Status Unmap(const Bdf& device, const MemoryRegion& region) = 0;

  // Reserves exactly `pasid`; a device must be attached. RESOURCE_EXHAUSTED: taken by another
  // owner on this host, or quota. ALREADY_EXISTS: reserved here. INVALID_ARGUMENT: 0, or
  // beyond the PASID bits. The kernel is not asked where PASIDs are per device.
  virtual absl::Status AllocatePasid(uint32_t pasid) = 0;
  // NOT_FOUND: not reserved here. FAILED_PRECONDITION: bound.
  virtual absl::Status FreePasid(uint32_t pasid) = 0;

  // Binds a stage-1 root. Validates root, width, flags and PASID first: INVALID_ARGUMENT,
  // no call made. ALREADY_EXISTS: something is bound there (no call made).
  // FAILED_PRECONDITION: the PASID is not reserved here. UNIMPLEMENTED: no way to bind that.
  virtual absl::Status Bind(const BindingKey& key, const PageTable& table) = 0;
  // Makes `key` walk `table` instead of what it walks now. Where the kernel cannot replace
  // (type1), unbinds, binds, and on failure binds the old root again; if that fails too,
  // the state is unbound and the error is DATA_LOSS. NOT_FOUND: not bound.
  virtual absl::Status Replace(const BindingKey& key, const PageTable& table) = 0;
  // NOT_FOUND: not bound.
  virtual absl::Status Unbind(const BindingKey& key) = 0;
  // Drops cached translations of `key` in [address, address + size), and perhaps others;
  // size 0: all of them. NOT_FOUND: not bound. INVALID_ARGUMENT: goes beyond 2^64.
  virtual absl::Status Invalidate(const BindingKey& key, uint64_t address, uint64_t size) = 0;

  // Reads and writes of a region of an attached device, as the kernel's device descriptor
  // offers it (VFIO_DEVICE_GET_REGION_INFO index). Returns the bytes moved, perhaps fewer
  // than asked for. OUT_OF_RANGE: not all inside the region.
  virtual absl::StatusOr<size_t> ReadRegion(const Bdf& device, uint32_t region, uint64_t offset,
                                            void* buffer, size_t size) = 0;
  virtual absl::StatusOr<size_t> WriteRegion(const Bdf& device, uint32_t region, uint64_t offset,
                                             const void* buffer, size_t size) = 0;
  // Size of a region in bytes; 0: the device has none of that index.
  virtual absl::StatusOr<uint64_t> RegionSize(const Bdf& device, uint32_t region) = 0;
  // Resets the function. Bindings must be gone first: FAILED_PRECONDITION.
  virtual absl::Status Reset(const Bdf& device) = 0;

  // What the kernel objects of this address space are, as the calls above left them.
  virtual const AddressSpaceState& state() const = 0;
};

// Makes address spaces and probes devices. Thread-safe.
class IommuBackend {
 public:
  virtual ~IommuBackend() = default;
  // "type1" or "iommufd".
  virtual absl::string_view name() const = 0;
  // Whether a root change on one key leaves a moment without translation.
  virtual bool replace_has_gap() const = 0;
  // Opens what it must, asks, closes again. OK with `reason` set where the device cannot
  // nest; an error only where asking was impossible (e.g. the group is in use: UNAVAILABLE).
  virtual absl::StatusOr<DeviceCapabilities> Probe(const Bdf& device) = 0;
  virtual absl::StatusOr<std::unique_ptr<AddressSpace>> CreateAddressSpace() = 0;
};

}  // namespace nestor::agent
