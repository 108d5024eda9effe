#include "agent/shim/process_launcher.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/log.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

// A process starts in milliseconds; a host that takes longer than this is not well.
constexpr absl::Duration kStartPatience = absl::Seconds(20);

}  // namespace

absl::StatusOr<std::unique_ptr<ProcessLauncher>> ProcessLauncher::Start(
    ProcessLauncherOptions options, ShimEvents events) {
  const std::string directory = options.setup.run_dir + "/shims";
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  // Whoever may write to a shim's socket owns the machine's bindings.
  if (!error && chmod(directory.c_str(), 0700) != 0) error.assign(errno, std::system_category());
  std::unique_ptr<ProcessLauncher> launcher(
      new ProcessLauncher(std::move(options), std::move(events)));
  for (std::filesystem::directory_iterator file(directory, error), end; !error && file != end;
       file.increment(error)) {
    const std::string uid = VmUidOf(file->path().filename());
    if (!uid.empty()) launcher->Adopt(uid, file->path());
  }
  if (error) return absl::ErrnoToStatus(error.value(), directory);
  return launcher;
}

void ProcessLauncher::Adopt(const std::string& vm_uid, const std::string& socket) {
  auto shim = ProcessShim::Connect(socket, options_.versions, events_);
  if (shim.ok()) {
    log::Info({{"resource", (*shim)->vm_name()}}, "found the {}", (*shim)->Describe());
    shims_[vm_uid] = *std::move(shim);
  } else if (!ClearRemains(vm_uid, socket)) {
    log::Error({}, "cannot speak to a shim that runs: {}", log::Text(shim.status()));
  }
}

bool ProcessLauncher::ClearRemains(const std::string& vm_uid, const std::string& socket) {
  if (!absl::IsUnavailable(PacketSocket::Connect(socket).status())) return false;
  log::Warn({}, "the shim that listened at {} died", socket);
  unlink(socket.c_str());
  died_.insert(vm_uid);
  return true;
}

absl::StatusOr<std::shared_ptr<Shim>> ProcessLauncher::Launch(const std::string& vm_name,
                                                              const std::string& vm_uid) {
  ASSIGN_OR_RETURN(const std::string socket, ShimSocketPath(options_.setup.run_dir, vm_uid));
  const std::lock_guard lock(mutex_);
  const auto found = shims_.find(vm_uid);
  if (found != shims_.end() && found->second->IsAlive()) return found->second;
  if (found != shims_.end()) shims_.erase(found);
  ClearRemains(vm_uid, socket);
  auto shim = ProcessShim::Connect(socket, options_.versions, events_);
  if (absl::IsNotFound(shim.status())) {
    const ShimTarget target{vm_name, vm_uid, died_.contains(vm_uid)};
    RETURN_IF_ERROR(RunCommand(options_.command(options_.setup, target, socket), kStartPatience));
    shim = ProcessShim::Connect(socket, options_.versions, events_);
  }
  if (!shim.ok()) return shim.status();
  died_.erase(vm_uid);
  log::Info({{"resource", vm_name}}, "speaks to the {}", (*shim)->Describe());
  shims_[vm_uid] = *shim;
  return *shim;
}

absl::Status ProcessLauncher::Retire(const std::string& vm_uid) {
  const std::lock_guard lock(mutex_);
  const auto found = shims_.find(vm_uid);
  if (found == shims_.end()) {
    return absl::NotFoundError(absl::StrCat("no shim of virtual machine ", vm_uid, " runs"));
  }
  RETURN_IF_ERROR(found->second->Retire());
  shims_.erase(found);
  return absl::OkStatus();
}

std::vector<std::shared_ptr<Shim>> ProcessLauncher::Running() {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Shim>> running;
  for (const auto& [uid, shim] : shims_) {
    if (shim->IsAlive()) running.push_back(shim);
  }
  return running;
}

absl::Status ProcessLauncher::Open(const std::string& vm_name, const Bdf& device,
                                   std::shared_ptr<Shim>) {
  const std::shared_ptr<ProcessShim> shim = Find(vm_name);
  if (shim == nullptr) return absl::UnavailableError("the owner of this machine has ended");
  return shim->OpenEndpoint(device);
}

void ProcessLauncher::Close(const std::string& vm_name, const Bdf& device) {
  if (const auto shim = Find(vm_name)) shim->CloseEndpoint(device);
}

std::set<Bdf> ProcessLauncher::Opened(const std::string& vm_name) {
  const auto shim = Find(vm_name);
  return shim == nullptr ? std::set<Bdf>() : shim->OpenEndpoints();
}

std::shared_ptr<ProcessShim> ProcessLauncher::Find(const std::string& vm_name) {
  const std::lock_guard lock(mutex_);
  for (const auto& [uid, shim] : shims_) {
    if (shim->vm_name() == vm_name) return shim;
  }
  return nullptr;
}

}  // namespace nestor::agent
