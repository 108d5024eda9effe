// The kernel's uevents.
#pragma once

#include "absl/strings/string_view.h"
#include "agent/kernel/device_events.h"

namespace nestor::kernel {

// Listens to the netlink socket that udev listens to. The kernel sends there what happens in
// the network namespace of the host only: elsewhere nothing is heard, and Wait takes its whole
// time.
class LinuxDeviceEvents final : public DeviceEvents {
 public:
  // Whether `message`, as the kernel sends it ("ACTION@PATH" and "KEY=VALUE", each ended by a
  // zero byte), is about a PCI function.
  static bool IsAboutPci(absl::string_view message);

  LinuxDeviceEvents();
  ~LinuxDeviceEvents() override;
  LinuxDeviceEvents(const LinuxDeviceEvents&) = delete;
  LinuxDeviceEvents& operator=(const LinuxDeviceEvents&) = delete;

  void Wait(absl::Duration longest) override;
  void Interrupt() override;

 private:
  // Whether any of the messages that wait is about a PCI function.
  bool TakeMessages() const;
  bool TakeInterrupt() const;

  int socket_;     // -1: there is none to be had
  int interrupt_;  // an eventfd
};

}  // namespace nestor::kernel
