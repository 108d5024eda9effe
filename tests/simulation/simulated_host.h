// A host: its kernel, the shims on it, its agent, and the guests that run there.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/kernel/sim_kernel.h"
#include "agent/shim/shim.h"
#include "agent/shim/vmm_endpoints.h"
#include "tests/simulation/flaws.h"
#include "tests/simulation/judge.h"
#include "tests/simulation/network.h"
#include "tests/simulation/process.h"
#include "tests/simulation/scheduler.h"
#include "tests/simulation/simulated_server.h"
#include "tests/simulation/simulated_shim.h"

namespace nestor::simulation {

class SimulatedAgent;
class SimulatedGuest;

class SimulatedHost final : public agent::ShimLauncher, public agent::VmmEndpoints {
 public:
  static constexpr int kDevices = 2;

  SimulatedHost(Scheduler& scheduler, Network& network, SimulatedServer& server, Judge& judge,
                Flaw flaw, std::string id);
  ~SimulatedHost() override;

  // Power on, with an agent; off.
  void Boot();
  void PowerOff();
  void StartAgent();
  // As kill -9 of the agent's process: shims and guests go on.
  void KillAgent();
  void PauseAgent(absl::Duration duration);
  // What an agent told the shims a while ago reaches them once more, as where it was still in a
  // socket when that agent died.
  void ReplayOldMessage();
  // The agent's connection breaks, and only the agent learns of it soon.
  void BreakConnection();
  // Kernel calls succeed and guests stay up from now on.
  void Calm();

  bool on() const { return kernel_ != nullptr; }
  bool has_agent() const { return agent_ != nullptr; }
  bool connected() const;
  const std::string& id() const { return id_; }
  // Empty while it is off.
  std::vector<kernel::SimBinding> Bindings() const;
  int PasidsInKernel() const { return on() ? kernel_->Statistics().pasids : 0; }
  // The machines that have something bound in the kernel.
  std::set<std::string> LiveMachines() const;
  size_t shims() const { return shims_.size(); }

  // agent::ShimLauncher
  absl::StatusOr<std::shared_ptr<agent::Shim>> Launch(const std::string& vm_name,
                                                      const std::string& vm_uid) override;
  absl::Status Retire(const std::string& vm_uid) override;
  std::vector<std::shared_ptr<agent::Shim>> Running() override;
  // agent::VmmEndpoints
  absl::Status Open(const std::string& vm_name, const agent::Bdf& device,
                    std::shared_ptr<agent::Shim> shim) override;
  void Close(const std::string& vm_name, const agent::Bdf& device) override;
  std::set<agent::Bdf> Opened(const std::string& vm_name) override;

 private:
  struct Machine {
    std::shared_ptr<SimulatedShim> shim;
    std::unique_ptr<SimulatedGuest> guest;
  };

  void BuildInventory();
  // Flaw::kImmortalLease.
  void HauntLease(const std::string& session_id);
  std::unique_ptr<SimulatedAgent> NewAgent();
  void OnReport(agent::ShimReport report);

  Scheduler& scheduler_;
  Network& network_;
  SimulatedServer& server_;
  Judge& judge_;
  const Flaw flaw_;
  const std::string id_;
  bool calm_ = false;

  std::string boot_id_;
  v1::Inventory inventory_;
  std::unique_ptr<kernel::SimKernel> kernel_;  // null: off
  std::optional<ShimWorld> shim_world_;
  std::map<std::string, Machine> shims_;  // by uid of the machine
  std::unique_ptr<SimulatedAgent> agent_;
};

}  // namespace nestor::simulation
