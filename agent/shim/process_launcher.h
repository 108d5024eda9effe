// Shims in processes of their own, which outlive the agent.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/shim/process_shim.h"
#include "agent/shim/shim.h"
#include "agent/shim/shim_command.h"
#include "agent/shim/vmm_endpoints.h"

namespace nestor::agent {

struct ProcessLauncherOptions {
  ShimSetup setup;
  // ForkCommand or SystemdCommand.
  std::function<std::vector<std::string>(const ShimSetup& setup, const ShimTarget& target,
                                         const std::string& socket)>
      command;
  ShimProtocolVersions versions = {};
};

// Runs one nestor-shim for each virtual machine, listening under RUN_DIR/shims, and opens the
// monitors' sockets there too. Nothing ends with the launcher: the next one on the same RUN_DIR
// finds all of it. Thread-safe.
class ProcessLauncher final : public ShimLauncher, public VmmEndpoints {
 public:
  // Finds the shims that run and connects to them. One that cannot be spoken to is told in the
  // log and left alone; Launch says why. An error: RUN_DIR/shims cannot be made or read.
  // `events` may be called until the destructor returns.
  static absl::StatusOr<std::unique_ptr<ProcessLauncher>> Start(ProcessLauncherOptions options,
                                                                ShimEvents events);

  // Never starts a second shim while one may live. Errors of ShimSocketPath, of RunCommand and of
  // ProcessShim::Connect.
  absl::StatusOr<std::shared_ptr<Shim>> Launch(const std::string& vm_name,
                                               const std::string& vm_uid) override;
  // NOT_FOUND: none runs.
  absl::Status Retire(const std::string& vm_uid) override;
  std::vector<std::shared_ptr<Shim>> Running() override;

  // `shim` is one of Launch or Running.
  absl::Status Open(const std::string& vm_name, const Bdf& device,
                    std::shared_ptr<Shim> shim) override;
  void Close(const std::string& vm_name, const Bdf& device) override;
  std::set<Bdf> Opened(const std::string& vm_name) override;

 private:
  ProcessLauncher(ProcessLauncherOptions options, ShimEvents events)
      : options_(std::move(options)), events_(std::move(events)) {}

  void Adopt(const std::string& vm_uid, const std::string& socket);
  // Takes away what a dead shim left at `socket`. Whether there was such.
  bool ClearRemains(const std::string& vm_uid, const std::string& socket);
  // Null: none.
  std::shared_ptr<ProcessShim> Find(const std::string& vm_name);

  const ProcessLauncherOptions options_;
  const ShimEvents events_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<ProcessShim>> shims_;  // by uid of the machine
  std::set<std::string> died_;                                 // uids whose shim was found dead
};

}  // namespace nestor::agent
