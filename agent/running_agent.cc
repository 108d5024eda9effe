#include "agent/running_agent.h"

#include <fcntl.h>
#include <grpcpp/create_channel.h>
#include <sys/file.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/agent_kernel.h"
#include "agent/devices/device_keeper.h"
#include "agent/kernel/tracing_syscalls.h"
#include "agent/local/local_server.h"
#include "agent/local/local_service.h"
#include "agent/local/local_session.h"
#include "agent/metrics.h"
#include "agent/reconcile/host_reconciler.h"
#include "agent/reconcile/inventory_message.h"
#include "agent/reconcile/server_session.h"
#include "agent/shim/inline_shim.h"
#include "agent/shim/process_launcher.h"
#include "agent/vfio/backend_choice.h"
#include "agent/vfio/pci_inventory.h"
#include "agent/vmm/vmm_server.h"
#include "agent/vmm/vmm_server_endpoints.h"
#include "agent/vmm/vmm_socket.h"
#include "api/support/clock.h"
#include "api/support/event_loop.h"
#include "api/support/file_descriptor.h"
#include "api/support/grpc_address.h"
#include "api/support/log.h"
#include "api/support/monitoring.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "api/support/uuid.h"

namespace nestor::agent {
namespace {

// Nothing of two agents on one host may overlap: the lock is held until the process ends.
absl::Status TakeHostLock(const std::string& run_dir) {
  std::error_code error;
  std::filesystem::create_directories(run_dir, error);
  const std::string path = run_dir + "/agent.lock";
  FileDescriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file.valid()) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot open ", path, ": ", strerror(errno), "; choose another --run-dir"));
  }
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::AlreadyExistsError(
        absl::StrCat("another nestor-agent holds ", path, "; stop it first"));
  }
  file.Release();
  return absl::OkStatus();
}

// How to start the shims' processes. NOT_FOUND: nestor-shim is missing.
absl::StatusOr<ProcessLauncherOptions> DescribeProcesses(const AgentConfig& config,
                                                         absl::string_view iommu) {
  ProcessLauncherOptions options;
  options.versions.newest = config.shim_protocol;
  // Shims run in the root directory.
  options.setup = {.program = config.shim_program,
                   .run_dir = std::filesystem::absolute(config.run_dir),
                   .kernel = config.kernel,
                   .iommu = std::string(iommu),
                   .log_level = config.watch.log_level};
  std::string& program = options.setup.program;
  if (program.empty()) {
    program = std::filesystem::read_symlink("/proc/self/exe").replace_filename("nestor-shim");
  }
  if (!std::filesystem::exists(program)) {
    return absl::NotFoundError(absl::StrCat("there is no ", program, "; see --shim-program"));
  }
  options.command = ForkCommand;
  if (config.shim == "systemd") {
    options.command = SystemdCommand;
    ASSIGN_OR_RETURN(program, CopyUnderContentHash(program, options.setup.run_dir + "/shims/bin"));
  }
  return options;
}

// Members in order of lifetime: what a later one uses is declared before it.
class RunningAgent {
 public:
  RunningAgent(const AgentConfig& config, AgentKernel kernel)
      : config_(config),
        host_(HostName{config.host}.ToString()),
        kernel_(std::move(kernel)),
        syscalls_(*kernel_.syscalls),
        metrics_(NESTOR_VERSION) {}

  // `credentials`: null without a server. After an error: nothing but destruction.
  absl::Status Start(std::shared_ptr<grpc::ChannelCredentials> credentials) {
    // What shims that were found say waits until everything is there.
    loop_.Post([this] { started_.wait(); });
    const absl::Status status = StartParts(std::move(credentials));
    started_.count_down();
    if (!status.ok()) loop_.Stop();
    return status;
  }

  void Stop() {
    local_server_->Stop();
    if (server_session_) server_session_->Stop();
    if (vmm_server_) vmm_server_->Stop();
    loop_.Stop();
  }

 private:
  absl::Status StartParts(std::shared_ptr<grpc::ChannelCredentials> credentials) {
    RETURN_IF_ERROR(ChooseKernelInterface());
    RETURN_IF_ERROR(config_.shim == "inline" ? StartInlineShims() : StartProcessShims());
    metrics_.ShowShims([this] { return launcher_->Running().size(); });
    ASSIGN_OR_RETURN(const std::string boot_id, BootId(syscalls_));
    RETURN_IF_ERROR(FindDevices(boot_id));
    reconciler_.emplace(HostIdentity{host_, NewUuid(), boot_id, NESTOR_VERSION},
                        ToInventoryMessage(host_, backend_->name(), devices_), *launcher_,
                        *endpoints_, [this](std::function<void()> function) {
                          loop_.Post([this, function = std::move(function)] {
                            if (!reconciler_) return;
                            function();
                            SendResults();
                          });
                        });
    if (config_.standalone) {
      local_session_.emplace(*reconciler_, NewUuid());
      ready_ = true;
    } else {
      MakeServerSession(std::move(credentials));
    }
    RETURN_IF_ERROR(StartListeners());
    keeper_->Start();
    if (server_session_) server_session_->Start();
    log::Info({{"resource", host_}}, "speaks to {}; monitors connect under {}/vmm",
              config_.standalone ? "no server" : config_.server, config_.run_dir);
    return absl::OkStatus();
  }

  absl::Status ChooseKernelInterface() {
    ASSIGN_OR_RETURN(ChosenBackend chosen, ChooseBackend(syscalls_, config_.iommu));
    backend_ = std::move(chosen.backend);
    log::Info({}, "kernel interface {}: {}", std::string(backend_->name()), chosen.why);
    return absl::OkStatus();
  }

  absl::Status FindDevices(const std::string& boot_id) {
    DeviceInventoryOptions options;
    ASSIGN_OR_RETURN(options.prepare, ParsePrepareSelection(config_.prepare_devices));
    for (const auto& shim : launcher_->Running()) {
      options.held.merge(shim->Inventory().capabilities);
    }
    ASSIGN_OR_RETURN(PreparationRecord record,
                     PreparationRecord::Open(config_.run_dir + "/prepared", boot_id));
    auto inventory = std::make_unique<DeviceInventory>(syscalls_, *backend_, std::move(record),
                                                       std::move(options));
    RETURN_IF_ERROR(inventory->Refresh(clock_.Now()));
    devices_ = inventory->Devices();
    metrics_.OnDevices(devices_);
    keeper_.emplace(std::move(inventory), *kernel_.events, clock_, KeeperOptions());
    return absl::OkStatus();
  }

  DeviceKeeperOptions KeeperOptions() {
    DeviceKeeperOptions options;
    options.rescan = absl::Seconds(config_.device_rescan_seconds);
    options.on_change = [this](const std::vector<DeviceFacts>& devices) {
      metrics_.OnDevices(devices);
      loop_.Post([this, inventory = ToInventoryMessage(host_, backend_->name(), devices)] {
        if (!reconciler_) return;
        reconciler_->UpdateInventory(inventory);
        SendResults();
      });
    };
    options.on_reset = [this](const absl::Status& outcome) { metrics_.OnReset(outcome); };
    return options;
  }

  // A machine's owner reset a device.
  void TakeReset(const Bdf& device, const absl::Status& outcome) {
    metrics_.OnReset(outcome);
    loop_.Post([this, device, outcome] {
      if (keeper_) keeper_->OnReset(device, outcome);
    });
  }

  absl::Status StartInlineShims() {
    InlineShimOptions options;
    options.on_step = [this](const Step& step, const StepResult& result) {
      metrics_.OnStep(std::string(NameOf(step)), result.duration, result.status);
      if (result.reset.has_value()) TakeReset(DeviceOf(step), *result.reset);
    };
    launcher_ = std::make_unique<InlineShimLauncher>(*backend_, syscalls_, clock_, Reporter(),
                                                     std::move(options));
    ASSIGN_OR_RETURN(vmm_server_, VmmServer::Start(config_.run_dir + "/vmm"));
    vmm_server_endpoints_.emplace(*vmm_server_);
    endpoints_ = &*vmm_server_endpoints_;
    return absl::OkStatus();
  }

  absl::Status StartProcessShims() {
    ASSIGN_OR_RETURN(ProcessLauncherOptions options, DescribeProcesses(config_, backend_->name()));
    ShimEvents events;
    events.report = Reporter();
    events.on_step = [this](const std::string& step, absl::Duration duration,
                            const absl::Status& status) {
      metrics_.OnStep(step, duration, status);
    };
    events.on_reset = [this](const Bdf& device, const absl::Status& outcome) {
      TakeReset(device, outcome);
    };
    events.lost = [this](const std::string& vm_uid) {
      loop_.Post([this, vm_uid] { Lose(vm_uid); });
    };
    ASSIGN_OR_RETURN(auto launcher, ProcessLauncher::Start(std::move(options), std::move(events)));
    endpoints_ = launcher.get();
    launcher_ = std::move(launcher);
    return absl::OkStatus();
  }

  // What shims report goes to the reconciler and on, on the loop.
  ShimLauncher::ReportCallback Reporter() {
    return [this](const std::string&, ShimReport report) {
      loop_.Post([this, report = std::move(report)]() mutable {
        if (!reconciler_) return;
        for (const v1::Result& answer : report.bindings) metrics_.OnAnswer(answer.outcome());
        reconciler_->Collect(std::move(report));
        SendResults();
      });
    };
  }

  // What the reconciler has to say goes on.
  void SendResults() {
    if (local_session_) local_session_->TakeResults();
    if (server_session_) server_session_->SendPending();
  }

  void Lose(const std::string& vm_uid) {
    if (!reconciler_) return;
    log::Error({{"resource", host_}}, "the shim of virtual machine {} is lost", vm_uid);
    reconciler_->Lose(vm_uid);
    server_session_->Restart();
  }

  void MakeServerSession(std::shared_ptr<grpc::ChannelCredentials> credentials) {
    server_session_.emplace(
        loop_, *reconciler_,
        grpc::CreateCustomChannel(config_.server, std::move(credentials), ClientChannelArguments()),
        ReconnectPolicy(), [this](bool connected, int64_t epoch) {
          metrics_.OnSession(connected, epoch);
          ready_ = connected;
        });
  }

  absl::Status StartListeners() {
    local_service_.emplace(LocalServiceParts{
        .syscalls = syscalls_,
        .backend = *backend_,
        .launcher = *launcher_,
        .loop = loop_,
        .session = local_session_ ? &*local_session_ : nullptr,
        .simulated = config_.kernel != "linux",
        .socket_of = [this](const std::string& vm_name, const Bdf& device) {
          // Empty where no socket can have that name.
          return VmmSocketPath(config_.run_dir + "/vmm", vm_name, device).value_or("");
        }});
    ASSIGN_OR_RETURN(local_server_,
                     LocalServer::Start(config_.run_dir + "/local.sock", *local_service_));
    if (config_.watch.metrics_listen.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(monitoring_, MonitoringServer::Start(config_.watch.metrics_listen, metrics_,
                                                          [this] { return ready_.load(); }));
    log::Info({}, "metrics at http://{}/metrics", monitoring_->address());
    return absl::OkStatus();
  }

  const AgentConfig& config_;
  const std::string host_;  // hosts/{host}
  const AgentKernel kernel_;
  kernel::TracingSyscalls syscalls_;
  std::unique_ptr<IommuBackend> backend_;
  SystemClock clock_;
  std::vector<DeviceFacts> devices_;
  std::atomic<bool> ready_ = false;
  Metrics metrics_;
  std::latch started_{1};
  EventLoop loop_;
  std::optional<DeviceKeeper> keeper_;
  std::unique_ptr<ShimLauncher> launcher_;
  std::unique_ptr<VmmServer> vmm_server_;                   // null: in the shims' processes
  std::optional<VmmServerEndpoints> vmm_server_endpoints_;  // of `vmm_server_`
  VmmEndpoints* endpoints_ = nullptr;
  std::optional<HostReconciler> reconciler_;
  std::optional<LocalSession> local_session_;    // without a server
  std::optional<ServerSession> server_session_;  // with one
  std::optional<LocalService> local_service_;
  std::unique_ptr<LocalServer> local_server_;
  std::unique_ptr<MonitoringServer> monitoring_;
};

}  // namespace

absl::Status RunAgent(const AgentConfig& config, const StopSignal& stop_signal) {
  RETURN_IF_ERROR(TakeHostLock(config.run_dir));
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  if (!config.standalone) {
    ASSIGN_OR_RETURN(credentials,
                     MakeChannelCredentials(config.security, config.server, SystemClock().Now()));
  }
  ASSIGN_OR_RETURN(AgentKernel kernel, MakeKernel(config.kernel, config.sim_devices));
  RunningAgent agent(config, std::move(kernel));
  RETURN_IF_ERROR(agent.Start(std::move(credentials)));
  log::Info({}, "stopping on {}", stop_signal.Wait());
  agent.Stop();
  return absl::OkStatus();
}

}  // namespace nestor::agent
