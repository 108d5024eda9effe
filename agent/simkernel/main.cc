// nestor-simkernel: a simulated kernel, IOMMU and devices for other processes of this machine.

#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/simkernel/client_process.h"
#include "agent/simkernel/remote_syscalls.h"
#include "agent/simkernel/simkernel_server.h"
#include "api/support/status_macros.h"
#include "api/support/stop_signal.h"

namespace nestor::kernel {
namespace {

struct Config {
  std::string listen;
  std::string status;
  int devices = 2;
  SimPersonality personality = SimPersonality::kSeriesV6;
  SimIommuProperties iommu;
  bool no_nesting = false;
  std::string log_level = "info";
};

const std::map<std::string, SimPersonality> kPersonalities = {
    {"series", SimPersonality::kSeriesV6},
    {"6.12", SimPersonality::kLinux6_12},
    {"7.2", SimPersonality::kLinux7_2},
};

const std::map<std::string, SimIommuHardware> kHardware = {
    {"vtd", SimIommuHardware::kVtd},
    {"smmuv3", SimIommuHardware::kSmmuV3},
    {"amd", SimIommuHardware::kAmd},
};

constexpr char kFooter[] = R"(Examples:
  nestor-simkernel --listen unix:/run/nestor/sim.sock --devices 4
  nestor-simkernel --listen unix:/tmp/sim.sock --personality 6.12
  nestor-simkernel --status unix:/tmp/sim.sock
  nestor-agent --kernel sim:/tmp/sim.sock --host host-a --server 127.0.0.1:7441 --insecure

Programs connect by libnestorsim (agent/simkernel/nestorsim.h, docs/simulated-kernel.md). The
machine has PCI devices 0000:01:00.0, 0000:02:00.0 and so on, each alone in its IOMMU group
(/dev/vfio/1, /dev/vfio/2, ...) and bound to vfio-pci; with 6.12 and 7.2 also /dev/iommu and
/dev/vfio/devices/vfio0, vfio1, ...

Exit codes: 0 stopped by SIGTERM or SIGINT, or status printed; 1 could not start, or nobody to
ask for a status; 2 wrong usage.)";

// Without the optional "unix:".
std::string SocketPath(const std::string& address) {
  return std::string(absl::StripPrefix(address, "unix:"));
}

absl::Status PrintStatus(const std::string& path) {
  ASSIGN_OR_RETURN(const auto kernel, RemoteSyscalls::Connect(path));
  ASSIGN_OR_RETURN(const std::string status, kernel->Status());
  std::cout << status << std::flush;
  return absl::OkStatus();
}

// Each open file of a client takes a descriptor here.
void RaiseDescriptorLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

void WarnOfYama() {
  int scope = 0;
  std::ifstream("/proc/sys/kernel/yama/ptrace_scope") >> scope;
  if (scope == 1) {
    spdlog::info(
        "Yama restricts ptrace (ptrace_scope 1): clients must name this process by "
        "prctl(PR_SET_PTRACER), which libnestorsim does with each call");
  }
}

SimMachine Describe(const Config& config) {
  SimMachine machine = DefaultSimMachine(config.devices);
  machine.personality = config.personality;
  machine.iommu = config.iommu;
  machine.iommu.nesting = !config.no_nesting;
  for (SimDeviceDescription& device : machine.devices) device.pasid_bits = config.iommu.pasid_bits;
  return machine;
}

absl::Status Run(const Config& config, const StopSignal& stop_signal) {
  RETURN_IF_ERROR(CheckProcessAccess());
  WarnOfYama();
  RaiseDescriptorLimit();
  SimKernel kernel(Describe(config));
  const std::string path = SocketPath(config.listen);
  ASSIGN_OR_RETURN(const auto server, SimkernelServer::Listen(kernel, path));
  spdlog::info("a simulated machine with {} devices behind {}", config.devices, path);
  std::thread thread([&] { server->Run(); });
  spdlog::info("stopping on {}", stop_signal.Wait());
  server->Stop();
  thread.join();
  return absl::OkStatus();
}

void AddMachineOptions(CLI::App& app, Config& config) {
  app.add_option("--devices", config.devices, "PCI devices of the machine")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option(
         "--personality", config.personality,
         "The kernel that answers: series (VFIO nesting as proposed in v6 of its series), "
         "6.12 (Linux, whose iommufd nests devices) or 7.2 (each PASID too); default series")
      ->transform(CLI::CheckedTransformer(kPersonalities).description("series, 6.12 or 7.2"));
  app.add_option("--iommu", config.iommu.hardware,
                 "Whose IOMMU iommufd finds: vtd, smmuv3 or amd; default vtd")
      ->transform(CLI::CheckedTransformer(kHardware).description("vtd, smmuv3 or amd"));
  app.add_flag("--no-nesting", config.no_nesting, "The IOMMU has no nested translation");
  app.add_option("--pasid-bits", config.iommu.pasid_bits, "PASID width of IOMMU and devices")
      ->check(CLI::Range(1, 20))
      ->capture_default_str();
  app.add_option("--pasid-quota", config.iommu.pasid_quota, "PASIDs that a process may have")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--address-width", config.iommu.address_width, "Bits of stage 2")
      ->check(CLI::IsMember({39, 48, 57}))
      ->capture_default_str();
}

}  // namespace
}  // namespace nestor::kernel

int main(int argc, char** argv) {
  nestor::kernel::Config config;
  CLI::App app(
      "nestor-simkernel: a simulated kernel with an IOMMU that nests, for other processes");
  app.footer(nestor::kernel::kFooter);
  app.set_version_flag("--version", std::string("nestor-simkernel ") + NESTOR_VERSION);
  auto* listen = app.add_option("--listen", config.listen, "Unix socket to listen at: unix:PATH");
  app.add_option("--status", config.status,
                 "Print, as JSON, how much the simulated kernel that listens at unix:PATH holds")
      ->excludes(listen);
  app.add_option("--log-level", config.log_level, "trace, debug, info, warn or error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}))
      ->capture_default_str();
  nestor::kernel::AddMachineOptions(app, config);
  try {
    app.parse(argc, argv);
    if (config.listen.empty() && config.status.empty()) {
      throw CLI::RequiredError("--listen or --status");
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  spdlog::set_level(spdlog::level::from_str(config.log_level));
  const nestor::StopSignal stop_signal;
  const absl::Status status =
      config.status.empty()
          ? nestor::kernel::Run(config, stop_signal)
          : nestor::kernel::PrintStatus(nestor::kernel::SocketPath(config.status));
  if (!status.ok()) {
    std::cerr << "nestor-simkernel: " << status.message() << "\n";
    return 1;
  }
  return 0;
}
