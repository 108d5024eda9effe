#include "agent/agent_kernel.h"

#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "agent/kernel/linux_device_events.h"
#include "agent/kernel/linux_syscalls.h"
#include "agent/kernel/silent_device_events.h"
#include "agent/simkernel/remote_syscalls.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

// Of --kernel, before the socket of a nestor-simkernel.
constexpr char kSimkernelPrefix[] = "sim:";

}  // namespace

std::string CheckKernel(const std::string& kernel) {
  const bool is_socket =
      kernel.size() > std::strlen(kSimkernelPrefix) && absl::StartsWith(kernel, kSimkernelPrefix);
  if (kernel == "linux" || kernel == "sim" || is_socket) return "";
  return absl::StrCat(kernel, " is none of linux, sim and sim:PATH");
}

absl::StatusOr<AgentKernel> MakeKernel(const std::string& kernel, int sim_devices) {
  AgentKernel result;
  absl::string_view socket = kernel;
  if (kernel == "linux") {
    result.syscalls = std::make_unique<kernel::LinuxSyscalls>();
    result.events = std::make_unique<kernel::LinuxDeviceEvents>();
  } else if (absl::ConsumePrefix(&socket, kSimkernelPrefix)) {
    ASSIGN_OR_RETURN(result.syscalls, kernel::RemoteSyscalls::Connect(std::string(socket)));
    result.events = std::make_unique<kernel::SilentDeviceEvents>();
  } else {
    result.sim = std::make_unique<kernel::SimKernel>(kernel::DefaultSimMachine(sim_devices));
    result.syscalls = result.sim->CreateProcess();
    result.events = result.sim->WatchDevices();
  }
  return result;
}

}  // namespace nestor::agent
