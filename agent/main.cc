// nestor-agent: owns a host's VFIO containers and makes its IOMMU agree with the server's
// intent. The only place where the agent's adapters meet.

#include <fcntl.h>
#include <grpcpp/create_channel.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "agent/check/check_command.h"
#include "agent/kernel/linux_syscalls.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/kernel/tracing_syscalls.h"
#include "agent/local/local_server.h"
#include "agent/local/local_service.h"
#include "agent/local/local_session.h"
#include "agent/metrics.h"
#include "agent/reconcile/host_reconciler.h"
#include "agent/reconcile/inventory_message.h"
#include "agent/reconcile/server_session.h"
#include "agent/shim/inline_shim.h"
#include "agent/simkernel/remote_syscalls.h"
#include "agent/vfio/pci_inventory.h"
#include "agent/vfio/type1_backend.h"
#include "agent/vmm/vmm_server.h"
#include "agent/vmm/vmm_socket.h"
#include "api/support/clock.h"
#include "api/support/event_loop.h"
#include "api/support/grpc_address.h"
#include "api/support/log.h"
#include "api/support/monitoring.h"
#include "api/support/program_options.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "api/support/stop_signal.h"
#include "api/support/uuid.h"

namespace nestor::agent {
namespace {

struct Config {
  std::string host;
  std::string server = "unix:/run/nestor/agents.sock";
  std::string run_dir = "/run/nestor-agent";
  std::string kernel = "linux";
  int sim_devices = 2;
  bool standalone = false;
  TransportSecurity security;
  WatchOptions watch;
};

// Of --kernel, before the socket of a nestor-simkernel.
constexpr char kSimkernelPrefix[] = "sim:";

constexpr char kFooter[] = R"(Examples:
  nestor-agent --host host-a --server unix:/run/nestor/agents.sock --insecure
  nestor-agent --host host-a --server 127.0.0.1:7441 --insecure --kernel sim --sim-devices 4
  nestor-agent --host host-a --server 127.0.0.1:7441 --insecure --kernel sim:/tmp/sim.sock
  nestor-agent --host host-a --server nestor.example:7441 \
      --tls-cert tls.crt --tls-key tls.key --tls-ca ca.crt
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

// Nothing of two agents on one host may overlap: the lock is held until the process ends.
absl::Status TakeHostLock(const std::string& run_dir) {
  std::error_code error;
  std::filesystem::create_directories(run_dir, error);
  const std::string path = run_dir + "/agent.lock";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot open ", path, ": ", strerror(errno), "; choose another --run-dir"));
  }
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return absl::AlreadyExistsError(
        absl::StrCat("another nestor-agent holds ", path, "; stop it first"));
  }
  return absl::OkStatus();
}

// The kernel that the agent works on: the host's, or a simulated one in this or another process.
struct Kernel {
  std::unique_ptr<kernel::SimKernel> sim;
  std::unique_ptr<kernel::Syscalls> syscalls;
};

// What CLI11 says of a wrong --kernel; empty: it is a right one.
std::string CheckKernel(const std::string& kernel) {
  const bool is_socket =
      kernel.size() > std::strlen(kSimkernelPrefix) && absl::StartsWith(kernel, kSimkernelPrefix);
  if (kernel == "linux" || kernel == "sim" || is_socket) return "";
  return absl::StrCat(kernel, " is none of linux, sim and sim:PATH");
}

absl::StatusOr<Kernel> MakeKernel(const Config& config) {
  Kernel result;
  absl::string_view socket = config.kernel;
  if (config.kernel == "linux") {
    result.syscalls = std::make_unique<kernel::LinuxSyscalls>();
  } else if (absl::ConsumePrefix(&socket, kSimkernelPrefix)) {
    ASSIGN_OR_RETURN(result.syscalls, kernel::RemoteSyscalls::Connect(std::string(socket)));
  } else {
    result.sim = std::make_unique<kernel::SimKernel>(kernel::DefaultSimMachine(config.sim_devices));
    result.syscalls = result.sim->CreateProcess();
  }
  return result;
}

// The monitors' sockets as the reconciler sees them.
class VmmServerEndpoints final : public VmmEndpoints {
 public:
  explicit VmmServerEndpoints(VmmServer& server) : server_(server) {}
  absl::Status Open(const std::string& vm_name, const Bdf& device,
                    std::shared_ptr<Shim> shim) override {
    return server_.AddDevice(vm_name, device, std::move(shim));
  }
  void Close(const std::string& vm_name, const Bdf& device) override {
    server_.RemoveDevice(vm_name, device);
  }

 private:
  VmmServer& server_;
};

// Empty where no socket can have that name.
std::string SocketOf(const Config& config, const std::string& vm_name, const Bdf& device) {
  return VmmSocketPath(config.run_dir + "/vmm", vm_name, device).value_or("");
}

absl::Status Run(const Config& config, const StopSignal& stop_signal) {
  RETURN_IF_ERROR(TakeHostLock(config.run_dir));
  SystemClock clock;
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  if (!config.standalone) {
    ASSIGN_OR_RETURN(credentials,
                     MakeChannelCredentials(config.security, config.server, clock.Now()));
  }
  ASSIGN_OR_RETURN(const Kernel kernel, MakeKernel(config));
  kernel::TracingSyscalls syscalls(*kernel.syscalls);
  Type1Backend backend(syscalls);
  ASSIGN_OR_RETURN(const std::vector<DeviceFacts> devices, BuildInventory(syscalls, backend));
  ASSIGN_OR_RETURN(const std::string boot_id, BootId(syscalls));
  for (const DeviceFacts& facts : devices) {
    const DeviceCapabilities& found = facts.capabilities;
    log::Info({}, "device {} group {}: {}", facts.function.bdf, facts.function.iommu_group,
              found.reason.empty() ? absl::StrCat("nests, ", found.pasid_bits, " PASID bits")
                                   : absl::StrCat(found.reason, ": ", found.message));
  }

  // Members of one lifetime, in order: what a later one uses is declared before it.
  std::atomic<bool> ready = false;
  EventLoop loop;
  HostReconciler* reconciler = nullptr;
  std::function<void()> take_results;
  Metrics metrics(NESTOR_VERSION, devices);
  InlineShimOptions shim_options;
  shim_options.on_step = [&](const Step& step, const StepResult& result) {
    metrics.OnStep(step, result);
  };
  InlineShimLauncher launcher(
      backend, syscalls, clock,
      [&](const std::string&, ShimReport report) {
        loop.Post([&, report = std::move(report)]() mutable {
          for (const v1::Result& answer : report.bindings) {
            metrics.OnAnswer(answer.outcome());
          }
          reconciler->Collect(std::move(report));
          take_results();
        });
      },
      shim_options);
  metrics.ShowShims([&] { return launcher.Running().size(); });
  ASSIGN_OR_RETURN(auto vmm_server, VmmServer::Start(config.run_dir + "/vmm"));
  VmmServerEndpoints endpoints(*vmm_server);
  const HostName host{config.host};
  HostReconciler host_reconciler({host.ToString(), NewUuid(), boot_id, NESTOR_VERSION},
                                 ToInventoryMessage(host.ToString(), backend.name(), devices),
                                 launcher, endpoints);
  reconciler = &host_reconciler;
  std::optional<LocalSession> local_session;
  std::optional<ServerSession> server_session;
  if (config.standalone) {
    local_session.emplace(host_reconciler, NewUuid());
    take_results = [&] { local_session->TakeResults(); };
    ready = true;
  } else {
    server_session.emplace(
        loop, host_reconciler,
        grpc::CreateCustomChannel(config.server, credentials, ClientChannelArguments()),
        ReconnectPolicy(), [&](bool connected, int64_t epoch) {
          metrics.OnSession(connected, epoch);
          ready = connected;
        });
    take_results = [&] { server_session->SendPending(); };
  }
  LocalService local_service({.syscalls = syscalls,
                              .backend = backend,
                              .launcher = launcher,
                              .loop = loop,
                              .session = local_session ? &*local_session : nullptr,
                              .simulated = config.kernel != "linux",
                              .socket_of = [&](const std::string& vm_name, const Bdf& device) {
                                return SocketOf(config, vm_name, device);
                              }});
  ASSIGN_OR_RETURN(auto local_server,
                   LocalServer::Start(config.run_dir + "/local.sock", local_service));
  std::unique_ptr<MonitoringServer> monitoring;
  if (!config.watch.metrics_listen.empty()) {
    ASSIGN_OR_RETURN(monitoring, MonitoringServer::Start(config.watch.metrics_listen, metrics,
                                                         [&] { return ready.load(); }));
    log::Info({}, "metrics at http://{}/metrics", monitoring->address());
  }
  if (server_session) server_session->Start();
  log::Info({{"resource", host.ToString()}}, "speaks to {}; monitors connect under {}/vmm",
            config.standalone ? "no server" : config.server, config.run_dir);

  log::Info({}, "stopping on {}", stop_signal.Wait());
  local_server->Stop();
  if (server_session) server_session->Stop();
  vmm_server->Stop();
  loop.Stop();
  return absl::OkStatus();
}

int Check(const Config& config, const CheckOptions& options) {
  const absl::StatusOr<Kernel> kernel = MakeKernel(config);
  if (!kernel.ok()) {
    std::cerr << "nestor-agent: " << kernel.status().message() << "\n";
    return 3;
  }
  Type1Backend backend(*kernel->syscalls);
  return RunCheckCommand(*kernel->syscalls, backend, options, std::cout, std::cerr);
}

void AddKernelOptions(CLI::App* app, Config* config) {
  app->add_option("--kernel", config->kernel,
                  "linux; sim: a simulated kernel in this process; or sim:PATH: the one that a "
                  "nestor-simkernel serves at the unix socket PATH")
      ->check(CheckKernel)
      ->capture_default_str();
  app->add_option("--sim-devices", config->sim_devices,
                  "Devices of the simulated kernel in this process")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
}

CLI::App* AddCheckCommand(CLI::App* app, Config* config, CheckOptions* options) {
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

absl::Status CheckConfig(const Config& config) {
  if (config.host.empty()) return absl::InvalidArgumentError("--host is required");
  RETURN_IF_ERROR(HostName::Parse(absl::StrCat("hosts/", config.host)).status());
  if (config.standalone) return absl::OkStatus();
  return CheckTransport(config.security, config.server);
}

}  // namespace
}  // namespace nestor::agent

int main(int argc, char** argv) {
  nestor::agent::Config config;
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
  app.add_option("--run-dir", config.run_dir, "Directory of the host lock and the VMM sockets")
      ->capture_default_str();
  nestor::agent::AddKernelOptions(&app, &config);
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
  const nestor::StopSignal stop_signal;
  if (absl::Status status = nestor::agent::Run(config, stop_signal); !status.ok()) {
    std::cerr << "nestor-agent: " << status.message() << "\n";
    return 1;
  }
  return 0;
}
