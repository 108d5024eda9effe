// A shim in a process of its own, as its agent sees it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/shim/packet_socket.h"
#include "agent/shim/shim.h"
#include "agent/shim/shim_message.h"
#include "agent/shim/shim_protocol.pb.h"

namespace nestor::agent {

// Called on a thread of the shim's; must return quickly and not call the shim.
struct ShimEvents {
  ShimLauncher::ReportCallback report;
  // A step was done, for metrics; may be empty.
  std::function<void(const std::string& step, absl::Duration duration, const absl::Status& status)>
      on_step;
  // A device was reset on its way into the machine or out of it; may be empty.
  std::function<void(const Bdf& device, const absl::Status& outcome)> on_reset;
  // The shim's process has ended, or cannot be spoken to: every later call answers UNAVAILABLE.
  std::function<void(const std::string& vm_uid)> lost;
};

// The versions of the protocol that this agent speaks.
struct ShimProtocolVersions {
  uint32_t oldest = kOldestShimProtocol;
  uint32_t newest = kNewestShimProtocol;
};

// A connection to nestor-shim. Besides what the Shim port says: Apply, Inventory and
// VmmDisconnected take little time in the shim, and one that does not answer within
// kPacketPatience is taken for lost. Ends the connection when it goes, not the shim.
class ProcessShim final : public Shim {
 public:
  // Connects and says Hello. Errors of PacketSocket::Connect; FAILED_PRECONDITION: they speak no
  // common version; UNAVAILABLE or DEADLINE_EXCEEDED: it does not answer.
  static absl::StatusOr<std::shared_ptr<ProcessShim>> Connect(const std::string& path,
                                                              const ShimProtocolVersions& versions,
                                                              const ShimEvents& events);
  ~ProcessShim() override;

  const std::string& vm_name() const { return hello_.vm_name(); }
  const std::string& vm_uid() const { return hello_.vm_uid(); }
  // For people.
  std::string Describe() const;
  // Whether it can still be spoken to.
  bool IsAlive();

  absl::Status Apply(const v1::Fence& fence, const v1::DesiredVirtualMachine* machine,
                     const std::vector<v1::DesiredBinding>& bindings) override;
  // Of a shim that is lost: its name and uid alone.
  ShimInventory Inventory() override;
  absl::StatusOr<std::string> VmmConnected(const Bdf& device) override;
  void VmmDisconnected(const Bdf& device) override;
  absl::Status MapMemory(const Bdf& device, const GuestMemory& memory) override;
  absl::Status UnmapMemory(const Bdf& device, uint64_t guest_address, uint64_t size) override;
  absl::StatusOr<uint64_t> RegionSize(const Bdf& device, uint32_t region) override;
  absl::StatusOr<std::string> ReadRegion(const Bdf& device, uint32_t region, uint64_t offset,
                                         size_t size) override;
  absl::Status WriteRegion(const Bdf& device, uint32_t region, uint64_t offset,
                           const std::string& data) override;
  absl::Status ResetDevice(const Bdf& device) override;
  void Invalidate(const BindingKey& key, uint64_t address, uint64_t size,
                  InvalidateDone done) override;

  // VmmEndpoints, in the shim's process.
  absl::Status OpenEndpoint(const Bdf& device);
  void CloseEndpoint(const Bdf& device);
  std::set<Bdf> OpenEndpoints();
  // Ends the process. FAILED_PRECONDITION: it holds kernel state.
  absl::Status Retire();

 private:
  struct Pending {
    wire::Answer answer;  // as much as came
    bool done = false;
    InvalidateDone tell;  // of a call for which nobody waits
  };

  ProcessShim(PacketSocket socket, const ShimEvents& events);
  absl::Status Greet(const ShimProtocolVersions& versions);
  // On the thread: takes answers until there will be no more.
  void Listen();
  void Take(wire::Answer answer);
  void TakeReport(wire::Report report);
  // Tells who does not wait that there will be no answer.
  void TellLost();
  void SetClosing(bool closing);

  // Sends the parts of one call and waits for its answer; its status is returned apart.
  absl::StatusOr<wire::Answer> Ask(std::vector<wire::Call> parts, absl::Duration patience,
                                   int descriptor = -1);
  absl::StatusOr<wire::Answer> AskQuick(wire::Call call);
  absl::StatusOr<wire::Answer> AskSlow(wire::Call call, int descriptor = -1);
  // Nothing: the shim is lost.
  std::optional<uint64_t> NewCall(InvalidateDone tell = nullptr);
  absl::Status Send(const std::vector<wire::Call>& parts, int descriptor);

  const ShimEvents events_;
  PacketSocket socket_;
  wire::HelloAnswer hello_;  // set by the thread, before Connect returns
  std::mutex send_mutex_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool lost_ = false;
  bool closing_ = false;  // an end of the connection is no loss
  uint64_t next_id_ = 1;
  std::map<uint64_t, Pending> pending_;
  std::thread thread_;
};

}  // namespace nestor::agent
