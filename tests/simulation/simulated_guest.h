// A guest with a monitor for each device of its machine: it boots, resets, reboots.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "agent/core/host_state.h"
#include "tests/simulation/process.h"
#include "tests/simulation/scheduler.h"
#include "tests/simulation/simulated_shim.h"

namespace nestor::simulation {

class SimulatedGuest {
 public:
  // `shim` must outlive it.
  SimulatedGuest(Scheduler& scheduler, SimulatedShim& shim, const bool& calm);

  // The device's socket listens, or no longer does.
  void Opened(const agent::Bdf& device);
  void Closed(const agent::Bdf& device);
  std::set<agent::Bdf> opened() const;

 private:
  enum class Monitor { kIdle, kConnecting, kConnected, kRuns };

  void Tend();
  void Connect(const agent::Bdf& device);
  void ActLater();
  void Act();
  void TurnOff();

  Scheduler& scheduler_;
  SimulatedShim& shim_;
  const bool& calm_;
  Process process_;
  bool on_ = true;
  std::map<agent::Bdf, Monitor> monitors_;  // of listening sockets
};

}  // namespace nestor::simulation
