// The agent's end of the Sync protocol: routes what should be to the owners (shims) of the
// virtual machines, and what they answer back to the server.
//
// No transport, thread or clock: server_session.h drives it from one event loop.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/shim/shim.h"
#include "agent/shim/vmm_endpoints.h"
#include "nestor/v1/agent_service.pb.h"

namespace nestor::agent {

// Who this host is: what Hello says besides what is held.
struct HostIdentity {
  std::string host;  // hosts/{host}
  std::string agent_instance;
  std::string boot_id;
  std::string agent_version;
};

// Not thread-safe: every method is called from one event loop.
class HostReconciler {
 public:
  // Runs a function on the loop that drives this, and then sends what NextResults has. Called
  // from the shims' threads, perhaps when this is gone: it must drop the function then.
  using OnLoop = std::function<void(std::function<void()>)>;

  // Takes over the shims that run, with their fence and their open endpoints. The launcher and
  // the endpoints must outlive this.
  HostReconciler(HostIdentity identity, v1::Inventory inventory, ShimLauncher& launcher,
                 VmmEndpoints& endpoints, OnLoop on_loop);

  // A new stream begins: forgets what was not sent and says what is held.
  v1::SyncRequest BeginSession();

  // A message of the server. An error ends the stream: PROTOCOL_ERROR (a message or sequence
  // number that cannot be), or a shim's refusal of the fence (STALE_FENCE, HOLD).
  absl::Status TakeIn(const v1::SyncResponse& message);

  // A shim's answers.
  void Collect(ShimReport report);
  // A shim has ended with all that it held. The next session tells the server, which then says
  // anew what should be; until then the machine has no owner.
  void Lose(const std::string& vm_uid);

  // The host's devices changed. A machine whose device went, or left vfio-pci, is told to let
  // go of it, and told again when it is back.
  void UpdateInventory(v1::Inventory inventory);

  // The next message to send: a changed inventory, or answers of at most 256 objects; nothing
  // while there is none or the server has not yet welcomed the session.
  std::optional<v1::SyncRequest> NextResults();

  // Set once the server welcomed the session.
  const std::optional<v1::Welcome>& welcome() const { return welcome_; }
  const std::string& host() const { return identity_.host; }

 private:
  struct Machine {
    std::string name;
    std::shared_ptr<Shim> shim;
    std::set<Bdf> devices;  // with an open endpoint
    // What its shim was told last, and under which fence; uid empty: nothing yet.
    v1::DesiredVirtualMachine desired = {};
    v1::Fence fence = {};
  };

  absl::Status TakeInWelcome(const v1::Welcome& welcome);
  absl::Status TakeInDesired(const v1::Desired& desired);
  absl::Status TakeInInvalidation(const v1::Invalidation& invalidation);
  void AnswerInvalidation(int64_t id, const absl::Status& status);
  absl::Status ApplyMachine(const v1::Fence& fence, const v1::DesiredVirtualMachine& machine);
  absl::Status ApplyBindings(const v1::Fence& fence, const v1::Desired& desired);
  // Fills in what the host has lost of the machine's devices.
  void MarkUnplugged(v1::DesiredVirtualMachine* desired) const;
  void UpdateEndpoints(Machine& machine, const v1::DesiredVirtualMachine& desired);
  void Retire(const std::string& vm_uid);
  void AnswerMachine(v1::VirtualMachineResult result);
  void AnswerBinding(v1::Result result);

  const HostIdentity identity_;
  v1::Inventory inventory_;
  std::set<Bdf> plugged_;       // bound to vfio-pci now
  std::set<Bdf> ever_plugged_;  // at any time since this agent began, or held by a shim
  ShimLauncher& launcher_;
  VmmEndpoints& endpoints_;
  const OnLoop on_loop_;

  std::map<std::string, Machine> machines_;  // by uid of the virtual machine
  v1::Fence highest_seen_;

  int64_t session_number_ = 0;

  // Of the present session.
  std::optional<v1::Welcome> welcome_;
  int64_t taken_in_seq_ = 0;
  bool acked_ = true;  // the server knows taken_in_seq_
  std::deque<v1::VirtualMachineResult> machine_answers_;
  bool inventory_changed_ = false;
  std::map<std::string, std::vector<v1::Result>> binding_answers_;  // by uid
  std::deque<std::string> binding_order_;                           // uids, oldest first
  std::deque<v1::InvalidationResult> invalidation_answers_;
};

}  // namespace nestor::agent
