// Everything that a simulated kernel is made of.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "agent/kernel/sim_device.h"
#include "agent/kernel/sim_drivers.h"
#include "agent/kernel/sim_hotplug.h"
#include "agent/kernel/sim_iommu.h"
#include "agent/kernel/sim_machine.h"
#include "agent/kernel/sim_pasid_set.h"
#include "agent/kernel/sim_physical_memory.h"
#include "agent/kernel/sim_sysfs.h"
#include "agent/kernel/sim_vfio_group.h"

namespace nestor::kernel {

// One lock for all: system calls are short here, and DMA is a part of one.
struct SimSystem {
  explicit SimSystem(const SimMachine& description);

  std::mutex mutex;  // guards all that follows but `machine`
  const SimMachine machine;
  SimPhysicalMemory memory;
  SimIommu iommu;
  SimPasidAllocator pasids;
  SimDrivers drivers;
  SimHotplug hotplug;
  std::vector<std::unique_ptr<SimDevice>> devices;      // as machine.devices
  std::map<int, std::unique_ptr<SimVfioGroup>> groups;  // by number
  SimSysfs sysfs;
  int containers = 0;  // alive
  int iommufds = 0;    // alive
  int bound_devices = 0;
  int ioases = 0;
  int hwpts = 0;
  int viommus = 0;
  int attachments = 0;  // of devices and of PASIDs
  int descriptors = 0;  // of all processes
  int next_address_space = 1;
};

}  // namespace nestor::kernel
