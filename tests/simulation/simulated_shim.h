// The owner of one machine's kernel state, as a process of its own on a simulated kernel: the
// real core, backend and steps, with virtual time between them.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/kernel/faulty_syscalls.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/shim/shim.h"
#include "agent/shim/shim_core.h"
#include "agent/vfio/type1_backend.h"
#include "tests/simulation/flaws.h"
#include "tests/simulation/judge.h"
#include "tests/simulation/process.h"
#include "tests/simulation/scheduler.h"

namespace nestor::simulation {

// What a shim needs of its host; outlives it.
struct ShimWorld {
  Scheduler& scheduler;
  Judge& judge;
  kernel::SimKernel& kernel;
  Flaw flaw;
  const bool& calm;  // kernel calls no longer fail
  std::string host;  // id, for the trace
  std::function<void(agent::ShimReport report)> report;
};

class SimulatedShim final : public agent::Shim {
 public:
  using Done = std::function<void(absl::Status)>;

  SimulatedShim(ShimWorld& world, std::string vm_name, std::string vm_uid);
  ~SimulatedShim() override;

  absl::Status Apply(const v1::Fence& fence, const v1::DesiredVirtualMachine* machine,
                     const std::vector<v1::DesiredBinding>& bindings) override;
  // Apply, with what it was called with some calls ago.
  void ReplayOldMessage();
  agent::ShimInventory Inventory() override { return core_.Inventory(world_.scheduler.Now()); }

  // The monitor's calls; `done` is told later. Connect mints a boot where none runs.
  void Connect(const agent::Bdf& device, Done done);
  void Disconnect(const agent::Bdf& device);
  void Map(const agent::Bdf& device, Done done);
  void Reset(const agent::Bdf& device, Done done);

  bool HoldsNothing() const { return core_.HoldsNothing(); }
  const std::string& vm_name() const { return vm_name_; }

  // Calls that wait for their part: the monitors of a simulation call the ones above.
  absl::StatusOr<std::string> VmmConnected(const agent::Bdf&) override { return NotHere(); }
  void VmmDisconnected(const agent::Bdf& device) override { Disconnect(device); }
  absl::Status MapMemory(const agent::Bdf&, const agent::GuestMemory&) override {
    return NotHere();
  }
  absl::Status UnmapMemory(const agent::Bdf&, uint64_t, uint64_t) override { return NotHere(); }
  absl::StatusOr<uint64_t> RegionSize(const agent::Bdf&, uint32_t) override { return NotHere(); }
  absl::StatusOr<std::string> ReadRegion(const agent::Bdf&, uint32_t, uint64_t, size_t) override {
    return NotHere();
  }
  absl::Status WriteRegion(const agent::Bdf&, uint32_t, uint64_t, const std::string&) override {
    return NotHere();
  }
  absl::Status ResetDevice(const agent::Bdf&) override { return NotHere(); }
  void Invalidate(const agent::BindingKey&, uint64_t, uint64_t, InvalidateDone done) override {
    done(NotHere());
  }

 private:
  struct Told {
    v1::Fence fence;
    std::optional<v1::DesiredVirtualMachine> machine;
    std::vector<v1::DesiredBinding> bindings;
  };
  struct Waiting {
    std::function<std::optional<absl::Status>()> outcome;
    Done done;
  };

  static absl::Status NotHere() { return absl::UnimplementedError("not in a simulation"); }
  void Wake();
  void Run();
  void Do(const agent::Step& step);
  void Finish(const agent::StepResult& result);
  agent::StepResult Execute(const agent::Step& step);
  void ReportTooEarly(const agent::Step& step);
  void WaitFor(std::function<std::optional<absl::Status>()> outcome, Done done);
  void AnswerWaiting();
  void ScheduleRetry();
  void Report(agent::ShimReport report);
  // What the kernel walks for a binding of this machine; 0: nothing.
  uint64_t RootInKernel(const agent::Bdf& device, uint32_t pasid) const;
  void JudgeFence(const v1::Fence& fence);
  void JudgeReport(const agent::ShimReport& report);
  void JudgeMapped();

  ShimWorld& world_;
  const std::string vm_name_;
  const std::unique_ptr<kernel::SimProcess> kernel_process_;
  kernel::FaultySyscalls syscalls_;
  agent::Type1Backend backend_;
  std::unique_ptr<agent::AddressSpace> address_space_;
  agent::ShimCore core_;
  Process process_;
  bool running_ = false;
  std::map<agent::Step, absl::Status> given_up_;  // Flaw::kNeverRetries
  uint64_t mappings_ = 0;
  std::vector<Waiting> waiting_;
  std::deque<Told> told_;                                 // the newest calls of Apply
  v1::Fence highest_;                                     // the judge's own memory
  std::string instance_;                                  // the guest's boot that runs
  std::map<agent::BindingKey, std::string> bound_under_;  // boots
};

}  // namespace nestor::simulation
