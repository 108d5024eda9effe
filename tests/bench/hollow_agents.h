// Many agents without hosts: the real session and reconciler over real streams, with owners that
// hold what they are told and do nothing else.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/support/event_loop.h"

namespace nestor::bench {

// hosts/h-00000, hosts/h-00001, ..., each with kDevice: where CreateMachines places its machines.
// Thread-safe.
class HollowAgents {
 public:
  // `count` agents from number `first` on, each with a connection of its own to `server`.
  HollowAgents(const std::string& server, int first, int count);
  ~HollowAgents();

  // Agents whose session the server welcomed.
  int64_t connected() const { return connected_; }
  // Bindings that their owners hold.
  int64_t held() const { return held_; }

 private:
  class Agent;

  std::atomic<int64_t> connected_ = 0;
  std::atomic<int64_t> held_ = 0;
  EventLoop loop_;
  std::vector<std::unique_ptr<Agent>> agents_;
};

// What nestor-hollow-agents does: runs them until its stdin ends; answers each line of it with
// "CONNECTED HELD". The exit code.
int RunHollowAgents(const std::string& server, int first, int count);

}  // namespace nestor::bench
