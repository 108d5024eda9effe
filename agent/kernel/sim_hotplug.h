// Which devices are plugged in, how they come and go, and who is told.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "agent/kernel/device_events.h"

namespace nestor::kernel {

struct SimSystem;

// A device is its index in SimMachine::devices. Physical functions and plain devices begin
// plugged in; virtual functions come and go with their physical function's sriov_numvfs.
// Calls run under the system's mutex; the results are 0 or -errno.
//
// The kernel takes a device that is open away only when its user has let go of it: until then
// whoever asked waits, and all that can be seen is that the device has no driver any more.
// Here nobody can wait: Remove answers at once and the rest follows later.
class SimHotplug {
 public:
  // `system` must outlive this and need not be complete.
  explicit SimHotplug(SimSystem& system) : system_(system) {}
  // Plugs in what is there from the beginning.
  void Boot();

  bool IsPresent(int device) const { return present_.contains(device); }
  // Whether it is to be removed once it is no longer in use.
  bool IsLeaving(int device) const { return leaving_.contains(device); }

  // sysfs `remove`: as above; a physical function takes its virtual ones with it.
  void Remove(int device);
  // sysfs `rescan`: what was removed comes back and is probed for a driver.
  void Rescan();
  // sriov_numvfs of a physical function.
  int VirtualFunctions(int device) const;       // enabled
  int TotalVirtualFunctions(int device) const;  // 0: not a physical function
  // -ERANGE: more than there are; -EBUSY: another number is enabled; -ENOENT: no driver.
  int SetVirtualFunctions(int device, int count);

  // A user let go of a group: finishes what waited for it.
  void GroupWasReleased();
  // A uevent: a device or its driver changed.
  void Announce();

 private:
  friend class SimDeviceEvents;

  std::vector<int> FunctionsOf(int device) const;
  bool IsInUse(int device) const;
  void Plug(int device);
  void Unplug(int device);

  SimSystem& system_;
  std::set<int> present_;
  std::set<int> leaving_;
  uint64_t changes_ = 0;
  std::condition_variable changed_;
};

// The uevents of a simulated kernel, which must outlive this.
class SimDeviceEvents final : public DeviceEvents {
 public:
  explicit SimDeviceEvents(SimSystem& system);
  void Wait(absl::Duration longest) override;
  void Interrupt() override;

 private:
  SimSystem& system_;
  uint64_t seen_ = 0;
  bool interrupted_ = false;  // guarded by the system's mutex
};

}  // namespace nestor::kernel
