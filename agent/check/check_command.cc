#include "agent/check/check_command.h"

#include "agent/core/kernel_error.h"
#include "api/support/host_check_text.h"
#include "api/support/status_macros.h"

namespace nestor::agent {

absl::StatusOr<v1::HostCheck> CheckHost(kernel::Syscalls& syscalls, IommuBackend& backend,
                                        const CheckOptions& options) {
  const v1::HostCheck host = ReadHostFacts(syscalls, backend.name(), options.guest_memory);
  ASSIGN_OR_RETURN(const std::vector<ProbedDevice> devices,
                   ProbeDevices(syscalls, backend, options.selection));
  return Judge(host, devices);
}

int RunCheckCommand(kernel::Syscalls& syscalls, IommuBackend& backend, const CheckOptions& options,
                    std::ostream& out, std::ostream& err) {
  const absl::StatusOr<v1::HostCheck> check = CheckHost(syscalls, backend, options);
  if (!check.ok()) {
    err << "nestor-agent: " << check.status().message() << "\n";
    return GetReason(check.status()) == "NO_DEVICE" ? 2 : 3;
  }
  out << (options.json ? HostCheckJson(*check) : HostCheckText(*check));
  return HostCheckExitCode(*check);
}

}  // namespace nestor::agent
