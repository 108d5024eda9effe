// Which kernel the agent works on.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "agent/kernel/device_events.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/kernel/syscalls.h"

namespace nestor::agent {

// The host's kernel, or a simulated one in this or another process.
struct AgentKernel {
  std::unique_ptr<kernel::SimKernel> sim;
  std::unique_ptr<kernel::Syscalls> syscalls;
  std::unique_ptr<kernel::DeviceEvents> events;
};

// What CLI11 says of a wrong --kernel; empty: it is a right one.
std::string CheckKernel(const std::string& kernel);

// `kernel` as CheckKernel allows it; `sim_devices`: of the one in this process. An error: the
// other process cannot be reached.
absl::StatusOr<AgentKernel> MakeKernel(const std::string& kernel, int sim_devices);

}  // namespace nestor::agent
