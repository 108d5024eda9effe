// An orchestrator that looks after one virtual machine: it creates, changes and deletes, asks
// again until it has an answer, and remembers what it was promised.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/message.h"
#include "nestor/v1/resources.pb.h"
#include "server/core/view.h"
#include "server/reconcile/cluster_state.h"
#include "tests/simulation/judge.h"
#include "tests/simulation/network.h"
#include "tests/simulation/process.h"
#include "tests/simulation/scheduler.h"
#include "tests/simulation/simulated_server.h"

namespace nestor::simulation {

class SimulatedClient {
 public:
  // `number` names its machine and chooses its PASIDs; `hosts` are ids.
  SimulatedClient(Scheduler& scheduler, Network& network, SimulatedServer& server, Judge& judge,
                  int number, std::vector<std::string> hosts);

  // It makes no more requests.
  void Rest() { resting_ = true; }
  // It makes those that renew all of its bindings, once, and rests again.
  void Renew();
  // Whether it has nothing to do and waits for nothing.
  bool resting() const { return resting_ && renewed_ && to_renew_.empty() && !busy_; }
  const std::string& vm_name() const { return vm_name_; }
  // Judges whether `view` keeps what was promised.
  void Check(const server::View& view) const;

 private:
  // What the last answer about a resource promised.
  struct Promise {
    bool present = false;
    std::string uid;
    int64_t generation = 0;
    v1::PasidBinding binding;  // where it is one
  };
  // One request, until it is answered.
  struct Request {
    std::string what;  // for the trace
    std::string id;
    std::shared_ptr<const google::protobuf::Message> body;
    server::ClusterState::Decide decide;
    std::function<void(const google::protobuf::Message& reply)> on_success;
    int attempts = 0;
  };

  void ActLater();
  void Act();
  void CreateMachine();
  void DeleteMachine();
  void MoveMachine();
  void ChangeBinding(const std::string& name);
  void CreateBinding(const std::string& name);
  void UpdateBinding(const std::string& name);
  void DeleteBinding(const std::string& name);
  void Send(std::string what, std::shared_ptr<google::protobuf::Message> body,
            server::ClusterState::Decide decide,
            std::function<void(const google::protobuf::Message& reply)> on_success);
  void Try(const std::shared_ptr<Request>& request);
  void OnAnswer(const std::shared_ptr<Request>& request, int attempt,
                const absl::StatusOr<server::Applied>& applied);
  void TryAgain(const std::shared_ptr<Request>& request, int attempt);
  void Expect(const v1::PasidBinding& binding);
  bool IsPresent(const std::string& name) const;
  v1::PasidBinding Wanted(const std::string& name);
  uint64_t NewRoot();

  Scheduler& scheduler_;
  Network& network_;
  SimulatedServer& server_;
  Judge& judge_;
  const int number_;
  const std::string machine_;  // its own, on the network
  const std::vector<std::string> hosts_;
  const std::string vm_name_;
  std::vector<std::string> binding_names_;
  std::string device_;
  std::string host_;
  Process process_;
  bool busy_ = false;
  uint64_t roots_ = 0;
  bool resting_ = false;
  bool renewed_ = false;
  std::vector<std::string> to_renew_;
  std::map<std::string, Promise> promises_;  // by resource name
};

}  // namespace nestor::simulation
