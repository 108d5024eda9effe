#include "agent/shim/shim_main.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "agent/kernel/linux_syscalls.h"
#include "agent/shim/inline_shim.h"
#include "agent/shim/packet_socket.h"
#include "agent/shim/shim_service.h"
#include "agent/simkernel/remote_syscalls.h"
#include "agent/vfio/backend_choice.h"
#include "agent/vmm/vmm_server.h"
#include "agent/vmm/vmm_server_endpoints.h"
#include "api/support/clock.h"
#include "api/support/log.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

struct Config {
  std::string vm_name;
  std::string vm_uid;
  std::string listen;
  std::string vmm_dir;
  std::string kernel = "linux";
  std::string iommu = "type1";
  std::string log_level = "info";
  bool detach = false;
  bool after_loss = false;
};

// Of --kernel, before the socket of a nestor-simkernel.
constexpr char kSimkernelPrefix[] = "sim:";

constexpr char kFooter[] =
    R"(nestor-agent starts it with --shim fork or --shim systemd, one for each virtual machine, and
speaks to it at the socket. It goes on without an agent, and ends when an agent retires it.
Killing it takes the devices away from the virtual machine.

Exit codes: 0 retired, or with --detach: a child listens; 1 could not start; 2 wrong usage.)";

absl::StatusOr<std::unique_ptr<kernel::Syscalls>> MakeKernel(const std::string& name) {
  absl::string_view socket = name;
  if (!absl::ConsumePrefix(&socket, kSimkernelPrefix)) {
    return std::make_unique<kernel::LinuxSyscalls>();
  }
  return kernel::RemoteSyscalls::Connect(std::string(socket));
}

// Goes on as a child of init in a session of its own, with its log in `log_path`. The parent
// ends here.
absl::Status Detach(const std::string& log_path) {
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int log = open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (null < 0 || log < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open ", log_path));
  const pid_t child = fork();
  if (child < 0) return absl::ErrnoToStatus(errno, "fork");
  if (child > 0) _exit(0);
  setsid();
  if (chdir("/") != 0) return absl::ErrnoToStatus(errno, "chdir /");
  dup2(null, STDIN_FILENO);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  close(null);
  close(log);
  return absl::OkStatus();
}

// Tells systemd that the service is ready, where it wants to know (sd_notify(3)).
void NotifyReady() {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path == nullptr || std::strlen(path) >= sizeof(address.sun_path)) return;
  std::memcpy(address.sun_path, path, std::strlen(path));
  if (path[0] == '@') address.sun_path[0] = '\0';
  const FileDescriptor socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  constexpr absl::string_view kReady = "READY=1";
  const socklen_t length =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
  sendto(socket.get(), kReady.data(), kReady.size(), MSG_NOSIGNAL,
         reinterpret_cast<const sockaddr*>(&address), length);
}

// Many shims run on one host: few threads, one arena for all of them.
void KeepMemorySmall() { mallopt(M_ARENA_MAX, 1); }

absl::Status Serve(const Config& config, IommuBackend& backend, kernel::Syscalls& syscalls,
                   FileDescriptor listener) {
  SystemClock clock;
  ShimService service({config.vm_name, config.vm_uid, NESTOR_VERSION}, std::move(listener));
  InlineShimOptions options;
  options.workers = 1;
  options.after_loss = config.after_loss;
  options.on_step = [&](const Step& step, const StepResult& result) {
    service.ReportStep(step, result);
  };
  InlineShimLauncher launcher(
      backend, syscalls, clock,
      [&](const std::string&, ShimReport report) { service.Report(std::move(report)); }, options);
  ASSIGN_OR_RETURN(const auto shim, launcher.Launch(config.vm_name, config.vm_uid));
  ASSIGN_OR_RETURN(const auto vmm_server, VmmServer::Start(config.vmm_dir, {.workers = 1}));
  VmmServerEndpoints endpoints(*vmm_server);
  NotifyReady();
  log::Info({{"resource", config.vm_name}}, "owns what the kernel holds of this machine");
  service.Run({*shim, endpoints, [&] { return launcher.Retire(config.vm_uid); }});
  vmm_server->Stop();
  unlink(config.listen.c_str());
  log::Info({{"resource", config.vm_name}}, "retired");
  return absl::OkStatus();
}

absl::Status Run(const Config& config, const WrapBackend& wrap) {
  KeepMemorySmall();
  signal(SIGPIPE, SIG_IGN);
  ASSIGN_OR_RETURN(const auto syscalls, MakeKernel(config.kernel));
  ASSIGN_OR_RETURN(FileDescriptor listener, ListenForPackets(config.listen));
  if (config.detach) {
    const std::string stem(absl::StripSuffix(config.listen, ".sock"));
    RETURN_IF_ERROR(Detach(stem + ".log"));
  }
  const BackendChoice choice =
      config.iommu == "iommufd" ? BackendChoice::kIommufd : BackendChoice::kType1;
  ASSIGN_OR_RETURN(const ChosenBackend chosen, ChooseBackend(*syscalls, choice));
  const std::unique_ptr<IommuBackend> wrapped = wrap ? wrap(*chosen.backend) : nullptr;
  IommuBackend& backend = wrapped ? *wrapped : *chosen.backend;
  return Serve(config, backend, *syscalls, std::move(listener));
}

void Declare(CLI::App* app, Config* config) {
  app->add_option("--vm", config->vm_name, "projects/{project}/virtualMachines/{vm}")->required();
  app->add_option("--uid", config->vm_uid, "Its uid")->required();
  app->add_option("--listen", config->listen, "Unix socket for the agent")->required();
  app->add_option("--vmm-dir", config->vmm_dir, "Directory of the monitors' sockets")->required();
  app->add_option("--kernel", config->kernel,
                  "linux, or sim:PATH: the simulated kernel that a nestor-simkernel serves at the "
                  "unix socket PATH")
      ->capture_default_str();
  app->add_option("--iommu", config->iommu, "The kernel's interface: type1 or iommufd")
      ->check(CLI::IsMember({"type1", "iommufd"}))
      ->capture_default_str();
  app->add_flag("--detach", config->detach,
                "Go on as a child of init and log to a file beside the socket");
  app->add_flag("--after-loss", config->after_loss,
                "An earlier owner died: bindings fail with VMM_RECONNECT_NEEDED until the monitor "
                "connects again");
  app->add_option("--log-level", config->log_level, "trace, debug, info, warn or error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}))
      ->capture_default_str();
  app->footer(kFooter);
  app->set_version_flag("--version", std::string("nestor-shim ") + NESTOR_VERSION);
}

}  // namespace

int RunShimProgram(int argc, char** argv, const WrapBackend& wrap) {
  Config config;
  CLI::App app("nestor-shim: owns what the kernel holds of one virtual machine");
  Declare(&app, &config);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  log::Start(log::Format::kText, config.log_level);
  const absl::Status status = Run(config, wrap);
  if (status.ok()) return 0;
  std::cerr << "nestor-shim: " << status.message() << "\n";
  return 1;
}

}  // namespace nestor::agent
