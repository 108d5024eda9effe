#include "tests/simulation/simulated_host.h"

#include <algorithm>
#include <utility>

#include "agent/reconcile/inventory_message.h"
#include "agent/vfio/pci_inventory.h"
#include "agent/vfio/type1_backend.h"
#include "tests/simulation/simulated_agent.h"
#include "tests/simulation/simulated_guest.h"

namespace nestor::simulation {

SimulatedHost::SimulatedHost(Scheduler& scheduler, Network& network, SimulatedServer& server,
                             Judge& judge, Flaw flaw, std::string id)
    : scheduler_(scheduler),
      network_(network),
      server_(server),
      judge_(judge),
      flaw_(flaw),
      id_(std::move(id)) {}

SimulatedHost::~SimulatedHost() {
  if (on()) PowerOff();
}

void SimulatedHost::Boot() {
  scheduler_.Note(id_, " boots");
  boot_id_ = scheduler_.NewUuid();
  kernel::SimMachine machine = kernel::DefaultSimMachine(kDevices);
  machine.boot_id = boot_id_;
  kernel_ = std::make_unique<kernel::SimKernel>(machine);
  shim_world_.emplace(ShimWorld{scheduler_, judge_, *kernel_, flaw_, calm_, id_,
                                [this](agent::ShimReport report) { OnReport(std::move(report)); }});
  BuildInventory();
  StartAgent();
}

void SimulatedHost::BuildInventory() {
  const std::unique_ptr<kernel::SimProcess> process = kernel_->CreateProcess();
  agent::Type1Backend backend(*process);
  inventory_ = agent::ToInventoryMessage(absl::StrCat("hosts/", id_), backend.name(),
                                         agent::BuildInventory(*process, backend).value());
}

void SimulatedHost::PowerOff() {
  scheduler_.Note(id_, " loses power");
  if (flaw_ == Flaw::kImmortalLease && agent_ != nullptr) HauntLease(agent_->session_id());
  agent_.reset();
  for (auto& [uid, machine] : shims_) machine.guest.reset();
  shims_.clear();
  shim_world_.reset();
  kernel_.reset();
}

void SimulatedHost::HauntLease(const std::string& session_id) {
  if (server_.running()) server_.Renew(absl::StrCat("hosts/", id_), session_id).IgnoreError();
  if (calm_) return;
  scheduler_.After(absl::Seconds(10), [this, session_id] { HauntLease(session_id); });
}

std::unique_ptr<SimulatedAgent> SimulatedHost::NewAgent() {
  agent::HostIdentity identity{.host = absl::StrCat("hosts/", id_),
                               .agent_instance = scheduler_.NewUuid(),
                               .boot_id = boot_id_,
                               .agent_version = "simulated"};
  return std::make_unique<SimulatedAgent>(scheduler_, network_, server_, flaw_, identity,
                                          inventory_, *this, *this);
}

void SimulatedHost::StartAgent() {
  scheduler_.Note(id_, "'s agent starts");
  agent_ = NewAgent();
}

void SimulatedHost::KillAgent() {
  scheduler_.Note(id_, "'s agent is killed");
  agent_.reset();
}

void SimulatedHost::PauseAgent(absl::Duration duration) {
  scheduler_.Note(id_, "'s agent is stopped for ", absl::FormatDuration(duration));
  agent_->Pause(duration);
}

void SimulatedHost::ReplayOldMessage() {
  for (auto& [uid, machine] : shims_) machine.shim->ReplayOldMessage();
}

void SimulatedHost::BreakConnection() {
  if (agent_ != nullptr) agent_->BreakConnection();
}

void SimulatedHost::Calm() { calm_ = true; }

bool SimulatedHost::connected() const { return agent_ != nullptr && agent_->connected(); }

std::vector<kernel::SimBinding> SimulatedHost::Bindings() const {
  return on() ? kernel_->Bindings() : std::vector<kernel::SimBinding>();
}

std::set<std::string> SimulatedHost::LiveMachines() const {
  std::set<std::string> live;
  const std::vector<kernel::SimBinding> bindings = Bindings();
  for (const auto& [uid, machine] : shims_) {
    const agent::AddressSpaceState held = machine.shim->Inventory().held;
    const bool is_live = std::any_of(bindings.begin(), bindings.end(), [&](const auto& binding) {
      return held.bindings.contains({binding.bdf, binding.pasid});
    });
    if (is_live) live.insert(machine.shim->vm_name());
  }
  return live;
}

absl::StatusOr<std::shared_ptr<agent::Shim>> SimulatedHost::Launch(const std::string& vm_name,
                                                                   const std::string& vm_uid) {
  Machine& machine = shims_[vm_uid];
  if (machine.shim == nullptr) {
    machine.shim = std::make_shared<SimulatedShim>(*shim_world_, vm_name, vm_uid);
    machine.guest = std::make_unique<SimulatedGuest>(scheduler_, *machine.shim, calm_);
  }
  return std::shared_ptr<agent::Shim>(machine.shim);
}

absl::Status SimulatedHost::Retire(const std::string& vm_uid) {
  auto it = shims_.find(vm_uid);
  if (it == shims_.end()) return absl::OkStatus();
  if (!it->second.shim->HoldsNothing()) return absl::FailedPreconditionError("it holds something");
  it->second.guest.reset();
  shims_.erase(it);
  return absl::OkStatus();
}

std::vector<std::shared_ptr<agent::Shim>> SimulatedHost::Running() {
  std::vector<std::shared_ptr<agent::Shim>> running;
  for (const auto& [uid, machine] : shims_) running.push_back(machine.shim);
  return running;
}

absl::Status SimulatedHost::Open(const std::string&, const agent::Bdf& device,
                                 std::shared_ptr<agent::Shim> shim) {
  for (auto& [uid, machine] : shims_) {
    if (machine.shim == shim) machine.guest->Opened(device);
  }
  return absl::OkStatus();
}

void SimulatedHost::Close(const std::string& vm_name, const agent::Bdf& device) {
  for (auto& [uid, machine] : shims_) {
    if (machine.shim->vm_name() == vm_name) machine.guest->Closed(device);
  }
}

std::set<agent::Bdf> SimulatedHost::Opened(const std::string& vm_name) {
  for (const auto& [uid, machine] : shims_) {
    if (machine.shim->vm_name() == vm_name) return machine.guest->opened();
  }
  return {};
}

void SimulatedHost::OnReport(agent::ShimReport report) {
  if (agent_ != nullptr) agent_->Collect(std::move(report));
}

}  // namespace nestor::simulation
