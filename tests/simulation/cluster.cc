#include "tests/simulation/cluster.h"

#include <set>
#include <utility>

#include "absl/strings/str_format.h"
#include "api/support/errors.h"
#include "server/core/host_intent.h"
#include "server/core/intent.h"
#include "server/core/keys.h"

namespace nestor::simulation {
namespace {

constexpr int kHosts = 2;
constexpr int kClients = 3;
constexpr int kMostFaults = 20;
constexpr absl::Duration kTroubledTime = absl::Minutes(3);
// Backoffs end after 30 s, and keepalive notices a dead peer after 20 s.
constexpr absl::Duration kTimeToConverge = absl::Minutes(5);
constexpr absl::Duration kLookInterval = absl::Milliseconds(500);
// A lease of 40 s, and as much for a server that was started anew, with some air.
constexpr absl::Duration kTimeToNotice = absl::Seconds(90);

}  // namespace

RunResult RunSeed(uint64_t seed, Flaw flaw) { return Cluster(seed, flaw).Run(); }

Cluster::Cluster(uint64_t seed, Flaw flaw)
    : scheduler_(seed),
      network_(scheduler_),
      judge_(scheduler_),
      flaw_(flaw),
      disk_(scheduler_.NewUuid()),
      server_(scheduler_, disk_, flaw,
              [this](const server::Transaction& transaction) { JudgeCommit(transaction); }) {
  std::vector<std::string> ids;
  ids.reserve(kHosts);
  for (int i = 0; i < kHosts; ++i) ids.push_back(absl::StrCat("host-", i));
  for (const std::string& id : ids) {
    hosts_[id] = std::make_unique<SimulatedHost>(scheduler_, network_, server_, judge_, flaw, id);
  }
  for (int i = 0; i < kClients; ++i) {
    clients_.push_back(
        std::make_unique<SimulatedClient>(scheduler_, network_, server_, judge_, i, ids));
  }
}

Cluster::~Cluster() {
  clients_.clear();
  hosts_.clear();
}

RunResult Cluster::Run() {
  StartServerAfter(absl::ZeroDuration());
  for (auto& [id, host] : hosts_) host->Boot();
  ScheduleFaults();
  RunUntil(scheduler_.Now() + kTroubledTime);
  if (judge_.ok()) {
    Calm();
    const absl::Time end = scheduler_.Now() + kTimeToConverge;
    std::string missing = "nothing was looked at";
    while (judge_.ok() && !missing.empty() && scheduler_.Now() < end) {
      RunUntil(scheduler_.Now() + absl::Seconds(10));
      missing = NotConverged();
    }
    if (judge_.ok() && !missing.empty()) {
      judge_.Violated("when faults stop, all converge", missing);
    }
  }
  return {judge_.verdict(), scheduler_.trace(), scheduler_.trace_digest(), events_};
}

void Cluster::RunUntil(absl::Time end) {
  absl::Time look = scheduler_.Now();
  while (judge_.ok() && scheduler_.Step(end)) {
    ++events_;
    if (scheduler_.Now() < look) continue;
    look = scheduler_.Now() + kLookInterval;
    JudgeMoment();
  }
}

void Cluster::ScheduleFaults() {
  Choices& choices = scheduler_.choices();
  const uint64_t faults = choices.Below(kMostFaults + 1);
  for (uint64_t i = 0; i < faults; ++i) {
    scheduler_.After(choices.Between(absl::Seconds(1), kTroubledTime), [this] {
      if (!calm_) Fail();
    });
  }
}

void Cluster::Fail() {
  Choices& choices = scheduler_.choices();
  auto host = std::next(hosts_.begin(), static_cast<int>(choices.Below(hosts_.size())));
  switch (choices.Below(3)) {
    case 0:
      return FailServer();
    case 1:
      return FailHost(*host->second);
    default:
      return FailNetwork(*host->second);
  }
}

void Cluster::StartServerAfter(absl::Duration delay) {
  scheduler_.After(delay, [this] {
    if (server_.running()) return;
    server_.Start();
    server_runs_since_ = scheduler_.Now();
    JudgeMoment();
  });
}

void Cluster::FailServer() {
  if (!server_.running()) return;
  Choices& choices = scheduler_.choices();
  const absl::Duration time = choices.Between(absl::Milliseconds(10), absl::Seconds(20));
  switch (choices.Below(3)) {
    case 0:
      server_.Pause(time);
      server_runs_since_ = scheduler_.Now() + time;
      return;
    case 1:
      server_.Kill();
      break;
    default:
      server_.CutPower();
      break;
  }
  StartServerAfter(time);
}

void Cluster::FailHost(SimulatedHost& host) {
  Choices& choices = scheduler_.choices();
  if (!host.on() || !host.has_agent()) return;
  const absl::Duration time = choices.Between(absl::Milliseconds(10), absl::Seconds(15));
  switch (choices.Below(5)) {
    case 0:
      host.KillAgent();
      scheduler_.After(time, [&host] {
        if (host.on() && !host.has_agent()) host.StartAgent();
      });
      return;
    case 1:
      return host.PauseAgent(time);
    case 2:
      return host.ReplayOldMessage();
    case 3:
      return host.BreakConnection();
    default:
      host.PowerOff();
      if (choices.Percent(50)) FenceLater(host);
      scheduler_.After(choices.Percent(50) ? 20 * time : time, [&host] {
        if (!host.on()) host.Boot();
      });
      return;
  }
}

void Cluster::FenceLater(SimulatedHost& host) {
  const bool lies = flaw_ == Flaw::kFencesRunningHosts;
  const absl::Duration delay = scheduler_.choices().Between(
      absl::ZeroDuration(), lies ? absl::Seconds(10) : 2 * kTimeToNotice);
  scheduler_.After(delay, [this, &host, lies] {
    if ((host.on() && !lies) || !server_.running()) return;
    auto decide = [name = "hosts/" + host.id(), lies](const server::View& view, absl::Time now) {
      v1::FenceHostRequest request;
      request.set_name(name);
      request.set_evidence("it is off");
      request.set_force(lies);
      return server::FenceHost(view, now, "operator", request);
    };
    server_.Mutate(decide, {}, [this, &host](const absl::StatusOr<server::Applied>& applied) {
      scheduler_.Note("fence ", host.id(), ": ",
                      applied.ok() ? "done" : ErrorReason(applied.status()));
    });
  });
}

void Cluster::FailNetwork(SimulatedHost& host) {
  Choices& choices = scheduler_.choices();
  const uint64_t way = choices.Below(3);
  const absl::Duration time = choices.Between(absl::Seconds(1), absl::Seconds(60));
  scheduler_.Note(host.id(),
                  way == 0   ? " does not reach the server"
                  : way == 1 ? " is not reached by the server"
                             : " is cut off",
                  " for ", absl::FormatDuration(time));
  if (way != 1) network_.Cut(host.id(), SimulatedServer::kMachine);
  if (way != 0) network_.Cut(SimulatedServer::kMachine, host.id());
  if (flaw_ == Flaw::kFencesRunningHosts) FenceLater(host);
  scheduler_.After(time, [this] { network_.Heal(); });
}

void Cluster::Calm() {
  scheduler_.Note("faults stop");
  calm_ = true;
  network_.Calm();
  for (auto& [id, host] : hosts_) {
    host->Calm();
    if (!host->on()) host->Boot();
    if (!host->has_agent()) host->StartAgent();
  }
  if (!server_.running()) StartServerAfter(absl::ZeroDuration());
  // Guests that are off come back within 30 s: what is bound to their boots wants to be new.
  scheduler_.After(absl::Seconds(60), [this] {
    for (auto& client : clients_) client->Renew();
  });
  for (auto& client : clients_) client->Rest();
}

void Cluster::JudgeCommit(const server::Transaction& transaction) {
  for (const auto& [key, value] : transaction.puts) {
    const auto claim = server::keys::ParsePasidClaim(key);
    if (!claim.has_value()) continue;
    if (disk_.content().rows.contains(key)) {
      judge_.Violated("no PASID is given twice", key);
    }
    auto host = hosts_.find(std::string(claim->host));
    if (host == hosts_.end()) continue;
    for (const kernel::SimBinding& binding : host->second->Bindings()) {
      if (binding.bdf != claim->bdf || binding.pasid != claim->pasid) continue;
      judge_.Violated("no PASID is given anew before ABSENT",
                      absl::StrCat(key, " is still bound on ", claim->host));
    }
  }
}

void Cluster::JudgeMoment() {
  std::map<std::string, std::string> live;  // machine -> host
  for (const auto& [id, host] : hosts_) {
    for (const std::string& machine : host->LiveMachines()) {
      const auto [it, is_new] = live.emplace(machine, id);
      if (is_new) continue;
      judge_.Violated("a machine is bound on one host",
                      absl::StrCat(machine, " is on ", it->second, " and ", id));
    }
    if (host->on() && host->has_agent()) {
      silent_since_.erase(id);
    } else {
      silent_since_.emplace(id, scheduler_.Now());
    }
  }
  if (!server_.running()) return;
  server_.state()->Read([&](const server::View& view) {
    for (const auto& client : clients_) client->Check(view);
    JudgeSilentHosts(view);
  });
}

void Cluster::JudgeSilentHosts(const server::View& view) {
  for (const auto& [id, since] : silent_since_) {
    if (view.FindHost(id) == nullptr) continue;
    const absl::Time counted = std::max(since, server_runs_since_);
    const bool connected =
        view.HostResource(id).status().state() == v1::HostStatus::STATE_CONNECTED;
    if (!connected || scheduler_.Now() - counted < kTimeToNotice) continue;
    judge_.Violated("a silent host is UNKNOWN",
                    absl::StrCat(id, " is shown connected and has no agent since ",
                                 absl::FormatDuration(scheduler_.Now() - since)));
  }
}

std::string Cluster::NotConverged() const {
  if (!server_.running()) return "the server does not run";
  for (const auto& client : clients_) {
    if (!client->resting()) return client->vm_name() + "'s client waits for an answer";
  }
  std::string missing;
  server_.state()->Read([&](const server::View& view) {
    for (const auto& [id, host] : hosts_) {
      if (missing.empty()) missing = NotConverged(view, *host);
    }
  });
  return missing;
}

std::string Cluster::NotConverged(const server::View& view, const SimulatedHost& host) const {
  if (!host.connected()) return host.id() + " has no session";
  const server::HostIntent intent = server::IntentOfHost(view, host.id());
  if (intent.virtual_machines.size() != host.shims()) {
    return absl::StrCat(host.id(), " has ", host.shims(), " shims for ",
                        intent.virtual_machines.size(), " machines");
  }
  std::map<std::pair<std::string, uint32_t>, uint64_t> wanted;
  for (const v1::DesiredBinding& binding : intent.bindings) {
    const v1::PasidBindingStatus status = view.PasidBindingResource(binding.name()).status();
    if (binding.absent()) return binding.name() + " is still being deleted";
    if (status.state() != v1::PasidBindingStatus::STATE_PROGRAMMED ||
        status.programmed_generation() != binding.generation()) {
      return absl::StrCat(binding.name(), " of generation ", binding.generation(), " is ",
                          v1::PasidBindingStatus::State_Name(status.state()), " with ",
                          status.programmed_generation(), " ", status.failure().reason());
    }
    wanted[{binding.device(), binding.pasid()}] = binding.page_table().root();
  }
  for (const kernel::SimBinding& binding : host.Bindings()) {
    auto it = wanted.find({binding.bdf, binding.pasid});
    if (it == wanted.end()) {
      return absl::StrCat(host.id(), " ", binding.bdf, " pasid ", binding.pasid, " is left over");
    }
    if (it->second != binding.stage1.root) {
      return absl::StrCat(host.id(), " ", binding.bdf, " pasid ", binding.pasid, " walks 0x",
                          absl::Hex(binding.stage1.root), ", not 0x", absl::Hex(it->second));
    }
    wanted.erase(it);
  }
  if (!wanted.empty()) return absl::StrCat(host.id(), " lacks a binding");
  if (host.PasidsInKernel() != static_cast<int>(host.Bindings().size())) {
    return absl::StrCat(host.id(), " has ", host.PasidsInKernel(), " PASIDs allocated");
  }
  return "";
}

}  // namespace nestor::simulation
