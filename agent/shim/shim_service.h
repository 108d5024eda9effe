// The shim's end of its conversation with agents.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "agent/shim/packet_socket.h"
#include "agent/shim/shim.h"
#include "agent/shim/shim_core.h"
#include "agent/shim/shim_protocol.pb.h"
#include "agent/shim/vmm_endpoints.h"
#include "agent/shim/worker_pool.h"
#include "api/support/file_descriptor.h"

namespace nestor::agent {

// Whose owner a shim is.
struct ShimIdentity {
  std::string vm_name;
  std::string vm_uid;
  std::string program_version;
};

// What the service speaks for; outlives Run.
struct ServedShim {
  Shim& shim;
  VmmEndpoints& endpoints;
  // Ends `shim`, or says why not: ShimLauncher::Retire.
  std::function<absl::Status()> retire;
};

// Has one agent at a time: a new one takes over from the one before. Without an agent the shim
// goes on; what it would have reported, the next agent finds in the inventory.
class ShimService {
 public:
  // `listener`: of ListenForPackets.
  ShimService(ShimIdentity identity, FileDescriptor listener);
  ~ShimService();

  // Tells the agent, if there is one that has said Hello. Waits at most kPacketPatience for one
  // that takes nothing, and then does without it. Thread-safe.
  void Report(ShimReport report);
  // A step on kernel objects was done; for the agent's metrics and its care of devices.
  // Thread-safe.
  void ReportStep(const Step& step, const StepResult& result);

  // Serves agents until one of them retired the shim, or Stop.
  void Run(const ServedShim& served);
  // Has Run return soon. Thread-safe; for good.
  void Stop();

 private:
  struct Agent;
  class Answerer;

  void TakeAgent();
  void TakePacket(const ServedShim& served);
  void Serve(const ServedShim& served, const std::shared_ptr<Agent>& agent, const wire::Call& call,
             FileDescriptor descriptor);
  void SendReport(const wire::Report& report);
  std::shared_ptr<Agent> agent() const;

  const ShimIdentity identity_;
  const FileDescriptor listener_;
  const FileDescriptor stop_;  // eventfd
  std::atomic<bool> ended_ = false;
  mutable std::mutex mutex_;
  std::shared_ptr<Agent> agent_;  // null: none
  // For calls that block; in order.
  WorkerPool blocking_calls_{1};
};

}  // namespace nestor::agent
