// Stands in for a server on an agent that runs without one: takes bindings made by hand and
// gives them to the same reconciler, under a fence of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "agent/reconcile/host_reconciler.h"
#include "nestor/v1/local_agent_service.pb.h"

namespace nestor::agent {

// What is declared lives as long as this. No transport, thread or clock; not thread-safe:
// every method is called from one event loop, `done` as well.
class LocalSession {
 public:
  // Called once with what became of a request.
  using Done = std::function<void(absl::StatusOr<v1::Result>)>;

  // Opens the reconciler's session. `incarnation`, a new UUID, makes the fence one that no
  // server ever had: owners that have seen a server refuse it (HOLD). The reconciler must
  // outlive this.
  LocalSession(HostReconciler& reconciler, const std::string& incarnation);

  // As LocalAgentService.Bind; the request is valid. Done once the machine's devices have been
  // tried and it is known what the binding waits for, or with `wait` once it is programmed or has
  // failed for good.
  void Bind(const v1::BindRequest& request, Done done);
  // As LocalAgentService.Unbind; the request is valid. Done once nothing of it is left.
  void Unbind(const v1::UnbindRequest& request, Done done);

  // Takes what the reconciler has collected.
  void TakeResults();

 private:
  struct Machine {
    std::string uid;
    int64_t generation = 0;
    int64_t settled_generation = 0;  // whose devices are attached, or could not be
    std::set<Bdf> devices;
    bool absent = false;  // on its way out
  };
  struct Binding {
    std::string uid;
    std::string vm_name;
    int64_t generation = 0;
    bool absent = false;
    bool wait = false;
    v1::Result answer;  // the last one for this generation
    Done done;          // of the call that waits; empty: none
  };

  absl::Status CheckDevice(const std::string& vm_name, const Bdf& device) const;
  Machine& DeclareMachine(const std::string& vm_name, const Bdf& device, v1::Desired* desired);
  void Remove(Binding& binding, v1::Desired* desired);
  void UnbindMachine(const std::string& vm_name, Done done);
  // Sends it; an error is the answer of everybody who waits for a part of it.
  absl::Status Send(v1::Desired desired);
  void TakeResult(const v1::Result& result);
  bool IsAnswered(const Binding& binding) const;
  void TakeMachineResult(const v1::VirtualMachineResult& result);
  static std::string NameOf(const Binding& binding);
  static void Finish(Done& done, absl::StatusOr<v1::Result> outcome);

  HostReconciler& reconciler_;
  v1::Fence fence_;
  int64_t delivery_seq_ = 0;
  uint64_t next_uid_ = 1;
  std::map<std::string, Machine> machines_;  // by name
  std::map<BindingKey, Binding> bindings_;
  std::map<std::string, Done> leaving_;  // who waits for a machine to be gone, by name
};

}  // namespace nestor::agent
