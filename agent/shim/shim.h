// The owner of one virtual machine's kernel state, as the agent sees it.
//
// A Shim opens the machine's devices, keeps exactly what it did, and answers for each
// object. It holds the fence: what an older epoch or another store says is refused.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/core/host_state.h"
#include "nestor/v1/agent_service.pb.h"

namespace nestor::agent {

// What a shim tells its agent: answers for its machine and bindings, and nothing else.
struct ShimReport {
  std::vector<v1::VirtualMachineResult> virtual_machines;
  std::vector<v1::Result> bindings;
};

// All that a shim holds, for a full compare.
struct ShimInventory {
  v1::Fence fence;  // highest seen; empty incarnation: none
  v1::HeldVirtualMachine virtual_machine;
  std::vector<v1::Result> bindings;  // one per binding known, PROGRAMMED or waiting
  AddressSpaceState held;            // what the kernel has, by the results of all calls
  // Of the attached devices, which answer no probe of another process.
  std::map<Bdf, DeviceCapabilities> capabilities;
  std::map<std::string, BindingKey> keys;  // what the bindings are to bind, by uid
};

// A monitor's memory region: a descriptor of the agent's process that the shim takes.
struct GuestMemory {
  uint64_t guest_address = 0;
  uint64_t size = 0;
  int fd = -1;          // owned by the callee; -1: recorded, not mapped
  uint64_t offset = 0;  // into fd
  bool writable = true;
};

// Thread-safe. Work of one shim runs in order. Apply queues it and returns; the monitor's
// calls wait for their own part of it. UNAVAILABLE from every call: the shim has ended.
class Shim {
 public:
  virtual ~Shim() = default;

  // Takes in what should be. Refused, with every object answered nothing, when the fence is
  // lower than the highest seen: ABORTED STALE_FENCE; another incarnation: FAILED_PRECONDITION
  // HOLD. Objects of another machine: INVALID_ARGUMENT.
  virtual absl::Status Apply(const v1::Fence& fence, const v1::DesiredVirtualMachine* machine,
                             const std::vector<v1::DesiredBinding>& bindings) = 0;
  // What is held now.
  virtual ShimInventory Inventory() = 0;

  // The monitor side (agent/vmm). `device` is one of the machine's.
  // Waits until the device is attached, trying anew where that failed, and returns the
  // vm_instance. The first connection of any of its devices mints it; the last one to go ends
  // it: every PASID is unbound and stage 2 emptied. An attach that fails is the answer.
  // FAILED_PRECONDITION DEVICE_NOT_ATTACHED: not one of the machine's devices.
  // ALREADY_EXISTS: a monitor is connected to it.
  virtual absl::StatusOr<std::string> VmmConnected(const Bdf& device) = 0;
  // Queues the release of what the device's monitor caused, and returns.
  virtual void VmmDisconnected(const Bdf& device) = 0;
  // Blocks until stage 2 of that device has it or cannot. UNMAP of memory under bindings is
  // allowed (firmware remaps all of RAM). Memory that could not be mapped counts as missing
  // (MEMORY_INCOMPLETE) until it is unmapped or its monitor goes.
  // INVALID_ARGUMENT: empty or not 4 KiB aligned. ALREADY_EXISTS: overlaps.
  // FAILED_PRECONDITION: no monitor is connected. ABORTED: it disconnected meanwhile.
  virtual absl::Status MapMemory(const Bdf& device, const GuestMemory& memory) = 0;
  // Takes out exactly the region that was given. NOT_FOUND: there is none.
  virtual absl::Status UnmapMemory(const Bdf& device, uint64_t guest_address, uint64_t size) = 0;
  // As AddressSpace. Wait for the step that runs, no longer.
  virtual absl::StatusOr<uint64_t> RegionSize(const Bdf& device, uint32_t region) = 0;
  virtual absl::StatusOr<std::string> ReadRegion(const Bdf& device, uint32_t region,
                                                 uint64_t offset, size_t size) = 0;
  virtual absl::Status WriteRegion(const Bdf& device, uint32_t region, uint64_t offset,
                                   const std::string& data) = 0;
  // Unbinds every PASID of the machine, resets, and mints a new vm_instance; blocks until
  // done. An unbind or reset that fails is the answer, and the old instance is over even so.
  virtual absl::Status ResetDevice(const Bdf& device) = 0;

  // Told what became of one Invalidate, exactly once; must return quickly and not wait for the
  // shim. Called on the caller's thread where the call is refused at once, else on the shim's.
  using InvalidateDone = std::function<void(absl::Status)>;
  // Has the kernel drop cached translations of `key` in [address, address + size), and perhaps
  // others; size 0: all of them. Returns at once; OK comes when the kernel has done it. Waits
  // for the step that runs, no longer.
  // INVALID_ARGUMENT: goes beyond 2^64. FAILED_PRECONDITION NOT_PROGRAMMED: nothing is bound
  // there. RESOURCE_EXHAUSTED QUEUE_FULL: kMaxInvalidations wait. Else the kernel's error.
  virtual void Invalidate(const BindingKey& key, uint64_t address, uint64_t size,
                          InvalidateDone done) = 0;
  static constexpr size_t kMaxInvalidations = 64;
};

// Starts and finds shims. Thread-safe.
class ShimLauncher {
 public:
  // Called on a thread of the shim's; must return quickly and not call the shim.
  using ReportCallback = std::function<void(const std::string& vm_uid, ShimReport report)>;

  virtual ~ShimLauncher() = default;
  // The shim of a virtual machine, started if it does not run.
  virtual absl::StatusOr<std::shared_ptr<Shim>> Launch(const std::string& vm_name,
                                                       const std::string& vm_uid) = 0;
  // Ends a shim that holds nothing. FAILED_PRECONDITION: it holds something.
  virtual absl::Status Retire(const std::string& vm_uid) = 0;
  // The shims that run.
  virtual std::vector<std::shared_ptr<Shim>> Running() = 0;
};

}  // namespace nestor::agent
