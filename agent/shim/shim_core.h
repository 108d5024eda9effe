// The decisions of a shim: what one virtual machine's owner does next, and what it says.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/core/host_state.h"
#include "agent/core/plan.h"
#include "agent/core/retry_policy.h"
#include "agent/shim/binding_table.h"
#include "agent/shim/fence_keeper.h"
#include "agent/shim/guest_memory_table.h"
#include "agent/shim/shim.h"
#include "nestor/v1/agent_service.pb.h"

namespace nestor::agent {

struct ShimCoreOptions {
  std::string vm_name;
  std::string vm_uid;
  bool replace_has_gap = false;  // IommuBackend::replace_has_gap
  // An earlier owner died, and what it held with it: until a monitor connects, bindings are
  // FAILED VMM_RECONNECT_NEEDED and not WAITING_FOR_VMM.
  bool after_loss = false;
  Backoff backoff;
  uint64_t seed = 0;  // spreads retries
};

// What became of a step.
struct StepResult {
  absl::Status status;
  absl::Duration duration;                 // of the kernel calls
  std::optional<absl::Status> reset = {};  // of a device on its way into the machine or out of it
  DeviceCapabilities capabilities;         // of a device that was attached
};

// A state machine without I/O, threads or clock. Its owner tells it events, asks for the one
// step to do next, does it, and tells the result:
//
//   while (auto step = core.NextStep(now)) core.FinishStep(Do(*step), now);
//   Send(core.TakeReport());   // wake up at core.NextRetry()
//
// The rules:
//  * Devices are attached as soon as the machine is known; guest memory goes into stage 2
//    while the device's monitor is connected; a binding waits for both (WAITING_FOR_VMM).
//  * A failed step stops only what builds on it. It is tried again after a backoff where
//    that may help, and a release (unbind, free, unmap, detach) is tried for ever.
//  * A binding belongs to the vm_instance for which it was first programmed. When that ends,
//    it is unbound before the device is reset and before stage 2 gets the memory of another
//    boot, answered NOT_PROGRAMMED VM_INSTANCE_GONE, and waits for a new generation.
//  * A device that the host has lost is let go, and its bindings are FAILED DEVICE_UNPLUGGED.
//    Its monitor stays connected: once the device is back, memory and bindings are as before.
//  * Writable memory that cannot be mapped makes the whole machine MEMORY_INCOMPLETE: what
//    is bound stays, and nothing new is bound until all memory is mapped.
//
// Not thread-safe.
class ShimCore {
 public:
  explicit ShimCore(ShimCoreOptions options);

  // Shim::Apply. An error has changed nothing.
  absl::Status Apply(const v1::Fence& fence, const v1::DesiredVirtualMachine* machine,
                     const std::vector<v1::DesiredBinding>& bindings, absl::Time now);

  // A monitor wants to connect: tries a failed attach anew; then see AttachOutcome.
  void PrepareMonitor(const Bdf& device);
  // The monitor of `device` is connected; `fresh_instance` names the guest's boot if it is
  // the machine's first. Returns the vm_instance that runs.
  // FAILED_PRECONDITION: not attached. ALREADY_EXISTS: connected.
  absl::StatusOr<std::string> ConnectMonitor(const Bdf& device, const std::string& fresh_instance,
                                             absl::Time now);
  // Ends the device's part of the guest, and the last one the instance. Ignored where none
  // is connected.
  void DisconnectMonitor(const Bdf& device, absl::Time now);

  // Memory of a connected monitor; errors as GuestMemoryTable::Add and
  // FAILED_PRECONDITION: no monitor is connected. Then see MapOutcome.
  absl::Status MapMemory(const Bdf& device, const MemoryRegion& region, absl::Time now);
  // Memory that is not for stage 2; see GuestMemoryTable::Record.
  absl::Status RecordMemory(const Bdf& device, const MemoryRegion& region, absl::Status problem,
                            absl::Time now);
  // Returns what is to go; then see UnmapOutcome. NOT_FOUND: there is no such region.
  absl::StatusOr<MemoryRegion> UnmapMemory(const Bdf& device, uint64_t guest_address, uint64_t size,
                                           absl::Time now);
  // The guest resets the device: everything is unbound, then the function is reset, and
  // `fresh_instance` runs. Then see ResetOutcome.
  // FAILED_PRECONDITION: no monitor is connected, or a reset of the device runs.
  absl::Status Reset(const Bdf& device, const std::string& fresh_instance, absl::Time now);

  // The next step, which the caller does and answers with FinishStep before asking again.
  // Nothing: there is nothing to do before the next event or NextRetry().
  std::optional<Step> NextStep(absl::Time now);
  void FinishStep(const StepResult& result, absl::Time now);
  // As of the last NextStep that gave nothing.
  std::optional<absl::Time> NextRetry() const { return retry_at_; }

  // What became of something asked for; unset while it is under way.
  std::optional<absl::Status> AttachOutcome(const Bdf& device) const;
  std::optional<absl::Status> MapOutcome(const Bdf& device, const MemoryRegion& region) const;
  std::optional<absl::Status> UnmapOutcome(const Bdf& device, const MemoryRegion& region) const;
  std::optional<absl::Status> ResetOutcome(const Bdf& device) const;

  // The answers since the last call.
  ShimReport TakeReport();
  ShimInventory Inventory(absl::Time now) const;
  // What the kernel holds, by the results of all steps.
  const AddressSpaceState& held() const { return held_; }
  // Whether stage 2 may need the memory that this process has mapped there. Not to be asked
  // while a step runs.
  bool UsesMemory(uint64_t user_address) const;
  // Whether the machine has nothing left in the kernel, and no step runs.
  bool HoldsNothing() const;

 private:
  struct Machine {
    int64_t generation = 0;
    bool absent = false;
    std::set<Bdf> devices;
    std::set<Bdf> unplugged;  // of these
  };
  struct FailedStep {
    int64_t attempts = 0;
    absl::Status status;
    RetryDecision decision;
  };
  // What follows from each kind of step; in shim_core_steps.cc.
  struct StepBegins;
  struct StepSucceeded;
  struct StepFailed;

  absl::Status CheckOwn(const v1::DesiredVirtualMachine* machine,
                        const std::vector<v1::DesiredBinding>& bindings) const;
  void TakeMachine(const v1::DesiredVirtualMachine& machine);
  bool OwnsDevice(const Bdf& device) const;
  bool IsUnplugged(const Bdf& device) const;

  // Decides anew after an event.
  void Settle(absl::Time now);
  MachineSituation Situation() const;
  AddressSpaceState Goal() const;
  void MakePlan();
  std::optional<Step> PickStep(absl::Time now);
  bool IsDelayed(const Step& step, absl::Time now);
  v1::Failure RecordFailure(const Step& step, const absl::Status& status, absl::Time now);
  template <typename StepType>
  void ForgetFailures();
  void EndInstance(const std::string& fresh_instance);
  void FinishReset(const Bdf& device, const absl::Status& status);

  std::optional<v1::Failure> MemoryFailure() const;
  std::optional<v1::Failure> MachineFailure() const;
  bool MachineIsSettled(const std::optional<v1::Failure>& failure) const;
  void AnswerMachine();

  const ShimCoreOptions options_;
  FenceKeeper fence_;
  std::optional<Machine> machine_;  // unset until it is told
  BindingTable bindings_;
  GuestMemoryTable memory_;
  std::map<Bdf, DeviceCapabilities> capabilities_;  // of attached devices
  std::set<Bdf> monitors_;                          // connected
  bool after_loss_;                                 // and no monitor has connected since
  std::string vm_instance_;                         // empty: no monitor is connected
  std::set<Bdf> resets_;                            // wanted, not done
  std::map<Bdf, absl::Status> reset_results_;       // of the last one

  AddressSpaceState held_;
  std::optional<Step> running_;
  std::map<Step, FailedStep> failures_;  // of steps that are still wanted
  Plan plan_;
  size_t next_ = 0;  // in plan_
  bool plan_is_old_ = true;
  std::optional<absl::Time> retry_at_;

  std::optional<v1::VirtualMachineResult> told_machine_;
  std::vector<v1::VirtualMachineResult> machine_answers_;
};

}  // namespace nestor::agent
