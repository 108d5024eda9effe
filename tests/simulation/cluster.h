// A whole cluster from one seed: faults while it works, then calm in which it must converge.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/simulation/flaws.h"
#include "tests/simulation/judge.h"
#include "tests/simulation/network.h"
#include "tests/simulation/scheduler.h"
#include "tests/simulation/simulated_client.h"
#include "tests/simulation/simulated_host.h"
#include "tests/simulation/simulated_server.h"
#include "tests/simulation/simulated_store.h"

namespace nestor::simulation {

struct RunResult {
  std::string violation;          // empty: all held
  std::deque<std::string> trace;  // the newest lines
  uint64_t digest = 0;            // of the whole trace
  uint64_t events = 0;
};

// Runs one seed to its end, or to its first violation.
RunResult RunSeed(uint64_t seed, Flaw flaw = Flaw::kNone);

class Cluster {
 public:
  Cluster(uint64_t seed, Flaw flaw);
  ~Cluster();

  RunResult Run();

 private:
  void ScheduleFaults();
  void Fail();
  void FailServer();
  void FailHost(SimulatedHost& host);
  // An operator looks at the host a while later, and fences it where it is off.
  void FenceLater(SimulatedHost& host);
  void FailNetwork(SimulatedHost& host);
  void StartServerAfter(absl::Duration delay);
  void Calm();
  // What is about to be written, judged against the kernels.
  void JudgeCommit(const server::Transaction& transaction);
  // What must hold at any moment.
  void JudgeMoment();
  void JudgeSilentHosts(const server::View& view);
  // Empty where the cluster is as its store wants it; otherwise what is not.
  std::string NotConverged() const;
  std::string NotConverged(const server::View& view, const SimulatedHost& host) const;
  // Runs until `end` or a violation.
  void RunUntil(absl::Time end);

  Scheduler scheduler_;
  Network network_;
  Judge judge_;
  const Flaw flaw_;
  SimulatedDisk disk_;
  SimulatedServer server_;
  std::map<std::string, std::unique_ptr<SimulatedHost>> hosts_;
  std::vector<std::unique_ptr<SimulatedClient>> clients_;
  bool calm_ = false;
  uint64_t events_ = 0;
  absl::Time server_runs_since_ = absl::InfiniteFuture();
  std::map<std::string, absl::Time> silent_since_;  // hosts without an agent
};

}  // namespace nestor::simulation
