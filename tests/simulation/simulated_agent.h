// nestor-agent without its transport: the real reconciler, which connects again and again and
// renews its lease.
#pragma once

#include <memory>
#include <string>

#include "agent/reconcile/host_reconciler.h"
#include "tests/simulation/flaws.h"
#include "tests/simulation/network.h"
#include "tests/simulation/process.h"
#include "tests/simulation/scheduler.h"
#include "tests/simulation/simulated_server.h"

namespace nestor::simulation {

class SimulatedAgent {
 public:
  // All references must outlive it.
  SimulatedAgent(Scheduler& scheduler, Network& network, SimulatedServer& server, Flaw flaw,
                 agent::HostIdentity identity, v1::Inventory inventory,
                 agent::ShimLauncher& launcher, agent::VmmEndpoints& endpoints);
  // As kill -9.
  ~SimulatedAgent();

  void Pause(absl::Duration duration) { process_.Pause(duration); }
  void Collect(agent::ShimReport report);
  void BreakConnection();
  // Of the present session; empty: there is none.
  std::string session_id() const { return connected() ? reconciler_.welcome()->session_id() : ""; }
  bool connected() const { return connection_ != nullptr && reconciler_.welcome().has_value(); }

 private:
  void Connect();
  void Dial(const std::shared_ptr<AgentConnection>& connection);
  void OnMessage(v1::SyncResponse message);
  // What a flawed agent does to a message; false: it is lost.
  bool Tamper(v1::SyncResponse* message);
  void OnClosed(const absl::Status& status);
  void Leave();
  void SendPending();
  void RenewLater();
  void Renew();

  Scheduler& scheduler_;
  Network& network_;
  SimulatedServer& server_;
  const Flaw flaw_;
  const std::string host_;  // id
  agent::HostReconciler reconciler_;
  Process process_;
  std::shared_ptr<AgentConnection> connection_;
  uint64_t session_ = 0;  // counts connections
  int64_t tampered_seq_ = 0;
  absl::Duration delay_ = absl::Milliseconds(250);
};

}  // namespace nestor::simulation
