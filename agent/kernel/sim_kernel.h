// A software model of the kernel side of nested translation: sysfs, VFIO groups and
// containers, type1 with nesting, PASIDs, iommufd, VT-d's two-stage walk and a device that
// does DMA.
//
// It follows the nesting series with the corrections of its review, and Linux 7.2's iommufd,
// check by check and in the kernel's order, so that code which works here issues the right calls in
// the right order. Where it disagrees with a real kernel, it is wrong. What it does not model:
// pinned private pages (one that its owner unmaps is gone for DMA too; shared memory stays), the
// memlock limit, interrupts, page requests, device TLBs, and time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "agent/kernel/device_events.h"
#include "agent/kernel/sim_iommu.h"
#include "agent/kernel/sim_machine.h"
#include "agent/kernel/sim_process.h"

namespace nestor::kernel {

struct SimSystem;

// How much of everything there is, to find what was left behind.
struct SimStatistics {
  int descriptors = 0;  // of all processes
  int containers = 0;   // open, or kept by a group
  int groups = 0;       // open, or in a container, or with a member's device file open
  int pasid_sets = 0;   // processes with PASIDs reserved for them
  int pasids = 0;       // allocated
  int bindings = 0;     // (device, PASID) pairs with a stage 1
  int mappings = 0;     // of stage 2, in all containers and iommufds; copies count once
  int iotlb_entries = 0;
  int iommufds = 0;       // open, or kept by a device
  int bound_devices = 0;  // to an iommufd
  int ioases = 0;
  int hwpts = 0;
  int viommus = 0;
  int attachments = 0;  // of devices, and of PASIDs of devices, to a HWPT
  uint64_t dmas = 0;    // commands that devices completed, since boot
  uint64_t faults = 0;  // commands that ended in a fault, since boot
  bool operator==(const SimStatistics&) const = default;
};

// A PASID table entry that nests. PASID 0: of requests without one.
struct SimBinding {
  std::string bdf;
  uint32_t pasid = 0;
  SimStage1 stage1;
  bool operator==(const SimBinding&) const = default;
};

// One booted machine. Thread-safe.
class SimKernel {
 public:
  explicit SimKernel(const SimMachine& machine);
  // All its processes must be gone.
  ~SimKernel();
  SimKernel(const SimKernel&) = delete;
  SimKernel& operator=(const SimKernel&) = delete;

  // A process with an address space and a descriptor table of its own. It runs inside the
  // calling process: user memory is the caller's.
  std::unique_ptr<SimProcess> CreateProcess();
  // Its uevents.
  std::unique_ptr<DeviceEvents> WatchDevices();
  // For those that bring processes of another kind.
  SimSystem& system() { return *system_; }

  SimStatistics Statistics() const;
  // In order of device and PASID.
  std::vector<SimBinding> Bindings() const;
  // The latest faults, oldest first; at most SimIommu::kKeptFaults.
  std::vector<SimFault> Faults() const;

 private:
  const std::unique_ptr<SimSystem> system_;
};

}  // namespace nestor::kernel
