// What to tell one host's agent next: the server's end of the Sync protocol.
//
// A pure state machine of one session: events in, effects out; no clock, lock or I/O. It
// keeps what the agent answered for, what is on its way, and a dirty set (not a queue) of
// what the agent should be told, in which a newer generation replaces an older one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "nestor/v1/agent_service.pb.h"

namespace nestor::server {

// What a host should hold, or a part of it.
struct HostIntent {
  std::vector<v1::DesiredVirtualMachine> virtual_machines;
  std::vector<v1::DesiredBinding> bindings;
};

// What one event leads to.
struct HostEffects {
  std::vector<v1::SyncResponse> send;                       // in this order
  std::vector<v1::VirtualMachineResult> observed_machines;  // to record
  std::vector<v1::Result> observed_bindings;                // to record
  // Uids to purge, with the generation of which nothing is left.
  std::map<std::string, int64_t> absent_machines;
  std::vector<std::string> absent_bindings;  // uids to purge
};

// Not thread-safe.
class HostDecision {
 public:
  // Objects on their way without an answer, at most (the agent's window).
  static constexpr size_t kWindow = 64;

  // `fence` is this session's; its head revision follows the events.
  explicit HostDecision(v1::Fence fence) : fence_(std::move(fence)) {}

  // The agent said Hello: compares what it holds with the whole intent and sends what
  // differs. `orphans` gets what is held in the kernel and named by no intent; it stays.
  HostEffects Connect(const v1::Hello& hello, HostIntent intent, std::vector<v1::Orphan>* orphans);

  // Intent changed. What the agent answered for, or is on its way, is not sent again.
  HostEffects Change(HostIntent intent, int64_t head_revision);

  // The agent answered. INVALID_ARGUMENT PROTOCOL_ERROR: the answer cannot be; nothing of
  // it was taken in.
  absl::StatusOr<HostEffects> Answer(const v1::Results& results);

  // This session's, with the newest head revision.
  const v1::Fence& fence() const { return fence_; }
  // Objects waiting to be sent, and on their way.
  size_t dirty() const { return dirty_machines_.size() + dirty_bindings_.size(); }
  size_t in_flight() const { return in_flight_.size(); }

 private:
  // One generation of one object; `absent` orders after the same generation present.
  struct Version {
    int64_t generation = 0;
    bool absent = false;
    auto operator<=>(const Version&) const = default;
  };

  // Answered for, or on its way.
  bool IsTold(const std::string& uid, Version wanted) const;
  void MarkDirty(HostIntent intent);
  // Fills the window from the dirty set.
  void Pump(HostEffects* effects);
  // Notes the answer and whether it is the one that was waited for.
  void Settle(const std::string& uid, Version version);

  v1::Fence fence_;
  int64_t sent_seq_ = 0;
  absl::flat_hash_map<std::string, Version> answered_;
  absl::flat_hash_map<std::string, Version> in_flight_;
  // Ordered, so that equal histories give equal messages.
  std::map<std::string, v1::DesiredVirtualMachine> dirty_machines_;
  std::map<std::string, v1::DesiredBinding> dirty_bindings_;
};

}  // namespace nestor::server
