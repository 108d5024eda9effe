// A cluster of real processes under faults, with guests that DMA and clients that change things
// all the time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/chaos/agent_line.h"
#include "tests/chaos/churn.h"
#include "tests/component/local_cluster.h"
#include "tests/shim/dma_load.h"

namespace nestor::chaos {

struct Options {
  absl::Duration time = absl::Seconds(60);
  uint64_t seed = 1;
  int hosts = 3;
  bool full_disk = true;
};

// What came of it.
struct Report {
  std::map<std::string, int> faults;  // by what was done
  int64_t acknowledged = 0;
  std::vector<std::string> lost;         // acknowledged, and not so
  std::vector<std::string> unconverged;  // after all faults were over
  int64_t dmas = 0;
  int64_t dma_faults = 0;  // those that read something else, too
  absl::Duration convergence;

  bool ok() const { return lost.empty() && unconverged.empty() && dma_faults == 0; }
};

// On each host one virtual machine whose binding stays, with a guest that DMAs all the time, and
// one whose bindings come, change and go. Shims are processes of their own. One fault follows the
// other, in an order that the seed gives; what happens meanwhile is as the processes please.
class Chaos {
 public:
  explicit Chaos(Options options);
  ~Chaos();

  // Runs it all, printing a line for each fault. Once.
  Report Run();

 private:
  struct Host {
    std::string name;
    std::unique_ptr<AgentLine> line;
    std::unique_ptr<testing::Process> steady_guest;
    std::unique_ptr<testing::Process> churn_guest;
    std::unique_ptr<testing::DmaLoad> load;
    std::unique_ptr<Churn> churn;
  };
  struct Fault {
    const char* name;
    std::function<void()> inject;  // and what ends it, unless it ended by itself
  };

  void StartHost(int index);
  std::unique_ptr<testing::Process> StartGuest(const Host& host, const std::string& vm,
                                               const std::string& device);
  void CreateMachine(const std::string& vm, const std::string& host, const std::string& device);
  std::vector<Fault> Faults();
  void Injure();
  void KillServer();
  void StopServer();
  void FillDisk();
  void KillAgent();
  void StopAgent();
  void CutLine();
  void StallLine();
  void SlowLine();
  Host& AnyHost() { return *hosts_[random_() % hosts_.size()]; }
  absl::Duration Between(absl::Duration least, absl::Duration most);
  void Say(const std::string& what) const;
  void AwaitConvergence(Report* report);
  // Why `name` is not as `want` after a minute; empty: it is.
  std::string Await(const std::string& name, v1::WaitPasidBindingRequest::Want want);
  void CheckKernel(const Host& host, Report* report);

  const Options options_;
  testing::LocalCluster cluster_;
  const std::string full_disk_;  // the file whose presence fills the server's disk
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<Host>> hosts_;
  const absl::Time start_;
  Report report_;
};

}  // namespace nestor::chaos
