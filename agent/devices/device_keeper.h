// Keeps an inventory up to date while the host changes.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/devices/device_inventory.h"
#include "agent/kernel/device_events.h"
#include "api/support/clock.h"

namespace nestor::agent {

struct DeviceKeeperOptions {
  // Between two looks at sysfs when no event comes: some changes are told by none, such as a
  // device that is to be removed while a machine has it.
  absl::Duration rescan = absl::Seconds(10);
  // Called on the keeper's thread with all devices whenever something about them changed.
  std::function<void(std::vector<DeviceFacts>)> on_change;
  // Called on the keeper's thread after each reset that it made itself.
  std::function<void(const absl::Status&)> on_reset = {};
};

// A thread of its own makes all calls of the kernel, so that one that hangs holds up nothing
// else. Thread-safe.
class DeviceKeeper {
 public:
  // `inventory` has been refreshed. `events` and `clock` must outlive this. Nothing happens
  // before Start.
  DeviceKeeper(std::unique_ptr<DeviceInventory> inventory, kernel::DeviceEvents& events,
               const Clock& clock, DeviceKeeperOptions options);
  // Waits for the call that runs.
  ~DeviceKeeper();

  // Once.
  void Start();
  // A machine's owner reset a device on its way in or out.
  void OnReset(const Bdf& device, const absl::Status& outcome);

 private:
  void Run();
  // False: it is time to stop.
  bool WaitForWork();
  void Work();

  const std::unique_ptr<DeviceInventory> inventory_;
  kernel::DeviceEvents& events_;
  const Clock& clock_;
  const DeviceKeeperOptions options_;
  std::vector<DeviceFacts> told_;  // the thread's own

  std::mutex mutex_;
  bool stopping_ = false;
  std::vector<std::pair<Bdf, absl::Status>> resets_;
  std::thread thread_;
};

}  // namespace nestor::agent
