// nestor-server without its transport: the real state and sessions on a simulated store.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "nestor/v1/agent_service.pb.h"
#include "server/reconcile/agent_sessions.h"
#include "server/reconcile/cluster_state.h"
#include "tests/simulation/flaws.h"
#include "tests/simulation/network.h"
#include "tests/simulation/process.h"
#include "tests/simulation/scheduler.h"
#include "tests/simulation/simulated_store.h"

namespace nestor::simulation {

using AgentConnection = Connection<v1::SyncRequest, v1::SyncResponse>;

class SimulatedServer {
 public:
  static constexpr char kMachine[] = "server";

  // All references must outlive it. It does not run yet.
  SimulatedServer(Scheduler& scheduler, SimulatedDisk& disk, Flaw flaw,
                  SimulatedStore::Observer observer);
  ~SimulatedServer();

  void Start();
  // As kill -9: what is written stays written.
  void Kill();
  // The machine loses power: what is not synced is gone.
  void CutPower();
  // Nothing happens in it meanwhile.
  void Pause(absl::Duration duration);
  bool running() const { return life_ != nullptr; }

  // An agent's connection has come in.
  void Accept(const std::shared_ptr<AgentConnection>& connection);
  // RenewLease.
  absl::Status Renew(const std::string& host, const std::string& session_id);
  // A client's call. `done` is not called where the server dies before it is answered.
  void Mutate(server::ClusterState::Decide decide, server::ClusterState::MutateOptions options,
              server::ClusterState::Done done);
  // Null while it does not run.
  const server::ClusterState* state() const;
  // Mints UUIDs.
  server::UidSource uids();

 private:
  class Stream;
  struct Life;

  Scheduler& scheduler_;
  SimulatedDisk& disk_;
  const Flaw flaw_;
  const SimulatedStore::Observer observer_;
  std::shared_ptr<Life> life_;
};

}  // namespace nestor::simulation
