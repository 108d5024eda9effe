#include "tests/simulation/simulated_guest.h"

namespace nestor::simulation {

SimulatedGuest::SimulatedGuest(Scheduler& scheduler, SimulatedShim& shim, const bool& calm)
    : scheduler_(scheduler), shim_(shim), calm_(calm), process_(scheduler) {
  ActLater();
}

void SimulatedGuest::Opened(const agent::Bdf& device) {
  monitors_.try_emplace(device, Monitor::kIdle);
  Tend();
}

void SimulatedGuest::Closed(const agent::Bdf& device) {
  auto it = monitors_.find(device);
  if (it == monitors_.end()) return;
  if (it->second >= Monitor::kConnected) shim_.Disconnect(device);
  monitors_.erase(it);
}

std::set<agent::Bdf> SimulatedGuest::opened() const {
  std::set<agent::Bdf> devices;
  for (const auto& [device, monitor] : monitors_) devices.insert(device);
  return devices;
}

void SimulatedGuest::Tend() {
  if (!on_) return;
  for (auto& [device, monitor] : monitors_) {
    if (monitor == Monitor::kIdle) Connect(device);
  }
}

void SimulatedGuest::Connect(const agent::Bdf& device) {
  monitors_[device] = Monitor::kConnecting;
  auto failed = [this, device] {
    monitors_[device] = Monitor::kIdle;
    process_.PostAfter(absl::Seconds(1), [this] { Tend(); });
  };
  // What is answered after the socket closed, or after the guest was turned off, is for nobody.
  shim_.Connect(device, [this, device, failed](const absl::Status& status) {
    auto it = monitors_.find(device);
    const bool gone = it == monitors_.end() || it->second != Monitor::kConnecting;
    if (!status.ok()) return gone ? void() : failed();
    if (gone || !on_) {
      shim_.Disconnect(device);
      return gone ? void() : failed();
    }
    it->second = Monitor::kConnected;
    shim_.Map(device, [this, device](const absl::Status& mapped) {
      auto now = monitors_.find(device);
      if (now == monitors_.end() || now->second != Monitor::kConnected) return;
      if (mapped.ok()) {
        now->second = Monitor::kRuns;
        return;
      }
      shim_.Disconnect(device);
      now->second = Monitor::kIdle;
      process_.PostAfter(absl::Seconds(1), [this] { Tend(); });
    });
  });
}

void SimulatedGuest::ActLater() {
  process_.PostAfter(scheduler_.choices().Between(absl::Seconds(2), absl::Seconds(30)), [this] {
    Act();
    ActLater();
  });
}

void SimulatedGuest::Act() {
  Choices& choices = scheduler_.choices();
  if (!on_) {
    on_ = true;
    return Tend();
  }
  if (calm_) return;
  if (choices.Percent(30)) return TurnOff();
  for (const auto& [device, monitor] : monitors_) {
    if (monitor != Monitor::kRuns || !choices.Percent(30)) continue;
    scheduler_.Note("the guest of ", shim_.vm_name(), " resets ", device);
    return shim_.Reset(device, [](const absl::Status&) {});
  }
}

void SimulatedGuest::TurnOff() {
  scheduler_.Note("the guest of ", shim_.vm_name(), " is turned off");
  on_ = false;
  for (auto& [device, monitor] : monitors_) {
    if (monitor >= Monitor::kConnected) shim_.Disconnect(device);
    if (monitor != Monitor::kConnecting) monitor = Monitor::kIdle;
  }
}

}  // namespace nestor::simulation
