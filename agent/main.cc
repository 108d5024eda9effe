// nestor-agent: owns a host's VFIO containers and makes its IOMMU agree with the server's
// intent.

#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "agent/agent_config.h"
#include "agent/agent_kernel.h"
#include "agent/check/check_command.h"
#include "agent/running_agent.h"
#include "agent/vfio/backend_choice.h"
#include "agent/vfio/prepare_selection.h"
#include "api/support/grpc_locks.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "api/support/stop_signal.h"

namespace nestor::agent {
namespace {

constexpr char kFooter[] = R"(Examples:
  nestor-agent --host host-a --server unix:/run/nestor/agents.sock --insecure
  nestor-agent --host host-a --server 127.0.0.1:7441 --insecure --kernel sim --sim-devices 4
  nestor-agent --host host-a --server 127.0.0.1:7441 --insecure --kernel sim:/tmp/sim.sock
  nestor-agent --host host-a --server nestor.example:7441 \
      --tls-cert tls.crt --tls-key tls.key --tls-ca ca.crt
  nestor-agent --host host-a --server unix:/run/nestor/agents.sock --insecure --shim systemd
  nestor-agent --host host-a --server 127.0.0.1:7441 --insecure --prepare-device 8086:0b25
  nestor-agent --standalone --kernel sim    no server: bind with `nestorctl --local`
  nestor-agent check    can this host's devices nest? `nestor-agent check --help`

Exit codes: 0 stopped by SIGTERM or SIGINT, 1 could not start, 2 wrong usage.
Virtual machine monitors connect to RUN_DIR/vmm/PROJECT.VM/BDF.sock (vfio-user).
`nestorctl --local unix:RUN_DIR/local.sock` speaks to this agent alone.)";

constexpr char kCheckFooter[] = R"(Examples:
  nestor-agent check
  nestor-agent check 0000:3b:00.0 0000:3c:00.0 --guest-memory 64GiB -o json

Needs no server, and leaves nothing changed. As another user than root it says what it could
not look at.

Exit codes: 0 every device checked can nest, 1 some cannot, 2 wrong usage, 3 there was nothing
to check.)";

int Check(const AgentConfig& config, const CheckOptions& options) {
  const absl::StatusOr<AgentKernel> kernel = MakeKernel(config.kernel, config.sim_devices);
  if (!kernel.ok()) {
    std::cerr << "nestor-agent: " << kernel.status().message() << "\n";
    return 3;
  }
  const absl::StatusOr<ChosenBackend> chosen = ChooseBackend(*kernel->syscalls, config.iommu);
  if (!chosen.ok()) {
    std::cerr << "nestor-agent: " << chosen.status().message() << "\n";
    return 3;
  }
  return RunCheckCommand(*kernel->syscalls, *chosen->backend, options, std::cout, std::cerr);
}

void AddKernelOptions(CLI::App* app, AgentConfig* config) {
  app->add_option("--kernel", config->kernel,
                  "linux; sim: a simulated kernel in this process; or sim:PATH: the one that a "
                  "nestor-simkernel serves at the unix socket PATH")
      ->check(CheckKernel)
      ->capture_default_str();
  const std::map<std::string, BackendChoice> choices = {{"auto", BackendChoice::kAuto},
                                                        {"type1", BackendChoice::kType1},
                                                        {"iommufd", BackendChoice::kIommufd}};
  app->add_option("--iommu", config->iommu,
                  "The kernel's interface to use: type1, iommufd, or auto: the one with which "
                  "probing finds devices to nest")
      ->transform(CLI::CheckedTransformer(choices).description("auto, type1 or iommufd"))
      ->default_str("auto");
  app->add_option("--sim-devices", config->sim_devices,
                  "Devices of the simulated kernel in this process")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
}

void AddShimOptions(CLI::App* app, AgentConfig* config) {
  app->add_option("--shim", config->shim,
                  "Where the owner of each virtual machine lives. inline: in this process, and "
                  "what it holds ends with it; fork: in a nestor-shim process, which outlives the "
                  "agent; systemd: the same as a transient service, which outlives the agent's "
                  "service and container too")
      ->check(CLI::IsMember({"inline", "fork", "systemd"}))
      ->capture_default_str();
  app->add_option("--shim-program", config->shim_program,
                  "The nestor-shim to start; by default the one beside this program");
  // An agent that takes part in a protocol that it does not know yet: for tests of upgrades.
  app->add_option("--shim-protocol", config->shim_protocol)->group("");
}

void AddDeviceOptions(CLI::App* app, AgentConfig* config) {
  app->add_option("--prepare-device", config->prepare_devices,
                  "A device that the agent may bind to vfio-pci: a PCI address or VENDOR:DEVICE, "
                  "such as 8086:0b25; may be repeated. An agent started without it gives the "
                  "device back to its driver")
      ->allow_extra_args(false);
  app->add_option("--device-rescan", config->device_rescan_seconds,
                  "Seconds between two looks for devices when the kernel tells of no change")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
}

CLI::App* AddCheckCommand(CLI::App* app, AgentConfig* config, CheckOptions* options) {
  CLI::App* check = app->add_subcommand("check", "Say which devices of this host can nest");
  check->footer(kCheckFooter);
  check->add_option("device", options->selection.devices,
                    "PCI addresses; without any, what is bound to vfio-pci or has PASIDs");
  check->add_flag("--all", options->selection.all, "Look at every PCI function but bridges");
  check
      ->add_option("--guest-memory", options->guest_memory,
                   "Memory that the guests of this host will have, e.g. 64GiB")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("1GiB");
  check
      ->add_option_function<std::string>(
          "-o,--output", [options](const std::string& format) { options->json = format == "json"; },
          "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->default_str("table");
  AddKernelOptions(check, config);
  return check;
}

absl::Status CheckConfig(const AgentConfig& config) {
  if (config.host.empty()) return absl::InvalidArgumentError("--host is required");
  RETURN_IF_ERROR(HostName::Parse(absl::StrCat("hosts/", config.host)).status());
  RETURN_IF_ERROR(ParsePrepareSelection(config.prepare_devices).status());
  const bool own_process = config.shim != "inline";
  if (own_process && config.kernel == "sim") {
    return absl::InvalidArgumentError(
        "--kernel sim is a kernel of this process alone: with --shim fork or systemd, start a "
        "nestor-simkernel and use --kernel sim:PATH");
  }
  if (own_process && config.standalone) {
    return absl::InvalidArgumentError(
        "--standalone forgets what was bound when it ends, so it needs --shim inline");
  }
  if (config.standalone) return absl::OkStatus();
  return CheckTransport(config.security, config.server);
}

}  // namespace
}  // namespace nestor::agent

int main(int argc, char** argv) {
  nestor::agent::AgentConfig config;
  CLI::App app("nestor-agent: makes this host's IOMMU agree with the intent held by nestor-server");
  app.footer(nestor::agent::kFooter);
  app.set_version_flag("--version", std::string("nestor-agent ") + NESTOR_VERSION);
  app.add_option("--host", config.host,
                 "Name of this host, as in hosts/{host}; required but with --standalone");
  CLI::Option* server =
      app.add_option("--server", config.server, "Address of nestor-server's agent listener")
          ->capture_default_str();
  app.add_flag("--standalone", config.standalone,
               "No server: bind by hand with `nestorctl --local`")
      ->excludes(server);
  app.add_option("--run-dir", config.run_dir,
                 "Directory of the host lock, the VMM sockets and the shims")
      ->capture_default_str();
  nestor::agent::AddKernelOptions(&app, &config);
  nestor::agent::AddDeviceOptions(&app, &config);
  nestor::agent::AddShimOptions(&app, &config);
  nestor::AddTransportOptions(&app, &config.security);
  nestor::AddReloadOption(&app, &config.security);
  nestor::AddWatchOptions(&app, &config.watch);
  nestor::agent::CheckOptions check_options;
  const CLI::App* check = nestor::agent::AddCheckCommand(&app, &config, &check_options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  config.watch.StartLog();
  if (check->parsed()) return nestor::agent::Check(config, check_options);
  if (config.standalone && config.host.empty()) config.host = "local";
  if (absl::Status status = nestor::agent::CheckConfig(config); !status.ok()) {
    std::cerr << "nestor-agent: " << status.message() << "\n";
    return 2;
  }
  nestor::StopNotingOrderOfLocks();
  const nestor::StopSignal stop_signal;
  if (absl::Status status = nestor::agent::RunAgent(config, stop_signal); !status.ok()) {
    std::cerr << "nestor-agent: " << status.message() << "\n";
    return 1;
  }
  return 0;
}
