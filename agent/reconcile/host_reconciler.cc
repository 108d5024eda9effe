#include "agent/reconcile/host_reconciler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"
#include "agent/shim/failure.h"
#include "api/support/errors.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

constexpr int kMaxAnswersInMessage = 256;

v1::Failure MakeFailure(v1::Failure::Kind kind, absl::string_view reason,
                        const absl::Status& cause) {
  v1::Failure failure;
  failure.set_kind(kind);
  failure.set_reason(std::string(reason));
  failure.set_message(std::string(cause.message()));
  return failure;
}

// Those that machines can have.
std::set<Bdf> PluggedDevices(const v1::Inventory& inventory) {
  std::set<Bdf> plugged;
  for (const v1::Device& device : inventory.devices()) {
    if (device.status().driver() != "vfio-pci") continue;
    plugged.insert(device.name().substr(device.name().rfind('/') + 1));
  }
  return plugged;
}

absl::Status CheckFence(const v1::Fence& fence) {
  if (fence.incarnation().empty() || fence.epoch() < 1 || fence.head_revision() < 1) {
    return errors::ProtocolError("a fence lacks incarnation, epoch or head revision");
  }
  return absl::OkStatus();
}

// Of two fences that shims of this host took, which follow one store.
bool IsHigher(const v1::Fence& fence, const v1::Fence& other) {
  return std::pair(fence.epoch(), fence.head_revision()) >
         std::pair(other.epoch(), other.head_revision());
}

}  // namespace

HostReconciler::HostReconciler(HostIdentity identity, v1::Inventory inventory,
                               ShimLauncher& launcher, VmmEndpoints& endpoints, OnLoop on_loop)
    : identity_(std::move(identity)),
      inventory_(std::move(inventory)),
      plugged_(PluggedDevices(inventory_)),
      ever_plugged_(plugged_),
      launcher_(launcher),
      endpoints_(endpoints),
      on_loop_(std::move(on_loop)) {
  for (const auto& shim : launcher_.Running()) {
    const ShimInventory held = shim->Inventory();
    const v1::HeldVirtualMachine& machine = held.virtual_machine;
    machines_[machine.uid()] = {machine.name(), shim, endpoints_.Opened(machine.name())};
    if (IsHigher(held.fence, highest_seen_)) highest_seen_ = held.fence;
    ever_plugged_.insert(held.held.devices.begin(), held.held.devices.end());
  }
}

v1::SyncRequest HostReconciler::BeginSession() {
  ++session_number_;
  welcome_.reset();
  taken_in_seq_ = 0;
  acked_ = true;
  machine_answers_.clear();
  binding_answers_.clear();
  binding_order_.clear();
  invalidation_answers_.clear();
  inventory_changed_ = false;

  v1::SyncRequest request;
  v1::Hello& hello = *request.mutable_hello();
  hello.set_host(identity_.host);
  hello.set_agent_instance(identity_.agent_instance);
  hello.set_boot_id(identity_.boot_id);
  hello.set_agent_version(identity_.agent_version);
  *hello.mutable_inventory() = inventory_;
  for (const auto& [uid, machine] : machines_) {
    ShimInventory held = machine.shim->Inventory();
    *hello.add_held_virtual_machines() = std::move(held.virtual_machine);
    for (auto& binding : held.bindings) *hello.add_held_bindings() = std::move(binding);
  }
  if (!highest_seen_.incarnation().empty()) *hello.mutable_highest_seen() = highest_seen_;
  return request;
}

absl::Status HostReconciler::TakeIn(const v1::SyncResponse& message) {
  switch (message.message_case()) {
    case v1::SyncResponse::kWelcome:
      return TakeInWelcome(message.welcome());
    case v1::SyncResponse::kDesired:
      return TakeInDesired(message.desired());
    case v1::SyncResponse::kInvalidation:
      return TakeInInvalidation(message.invalidation());
    case v1::SyncResponse::MESSAGE_NOT_SET:
      break;
  }
  return errors::ProtocolError("the server sent a message of no known kind");
}

absl::Status HostReconciler::TakeInWelcome(const v1::Welcome& welcome) {
  if (welcome_.has_value()) return errors::ProtocolError("a second Welcome");
  RETURN_IF_ERROR(CheckFence(welcome.fence()));
  welcome_ = welcome;
  return absl::OkStatus();
}

absl::Status HostReconciler::TakeInDesired(const v1::Desired& desired) {
  if (!welcome_.has_value()) return errors::ProtocolError("Desired before Welcome");
  RETURN_IF_ERROR(CheckFence(desired.fence()));
  if (desired.delivery_seq() != taken_in_seq_ + 1) {
    return errors::ProtocolError(
        absl::StrCat("delivery_seq ", desired.delivery_seq(), " follows ", taken_in_seq_));
  }
  for (const auto& machine : desired.virtual_machines()) {
    RETURN_IF_ERROR(ApplyMachine(desired.fence(), machine));
  }
  RETURN_IF_ERROR(ApplyBindings(desired.fence(), desired));
  highest_seen_ = desired.fence();
  taken_in_seq_ = desired.delivery_seq();
  acked_ = false;
  return absl::OkStatus();
}

absl::Status HostReconciler::TakeInInvalidation(const v1::Invalidation& invalidation) {
  if (!welcome_.has_value()) return errors::ProtocolError("Invalidation before Welcome");
  RETURN_IF_ERROR(CheckFence(invalidation.fence()));
  const v1::Fence& session = welcome_->fence();
  if (invalidation.fence().incarnation() != session.incarnation() ||
      invalidation.fence().epoch() != session.epoch()) {
    return errors::ProtocolError("an Invalidation of another session");
  }
  const auto machine = machines_.find(invalidation.vm_uid());
  if (machine == machines_.end()) {
    AnswerInvalidation(
        invalidation.id(),
        WithReason(absl::FailedPreconditionError("the owner of its virtual machine does not run"),
                   "NOT_PROGRAMMED"));
    return absl::OkStatus();
  }
  // An answer after the session's end is of no use to anybody. `this` may be gone by then,
  // and so is the loop.
  auto done = [this, on_loop = on_loop_, id = invalidation.id(),
               number = session_number_](absl::Status status) {
    on_loop([this, id, number, status = std::move(status)] {
      if (number == session_number_) AnswerInvalidation(id, status);
    });
  };
  machine->second.shim->Invalidate({invalidation.device(), invalidation.pasid()},
                                   invalidation.range().address(), invalidation.range().size(),
                                   std::move(done));
  return absl::OkStatus();
}

void HostReconciler::AnswerInvalidation(int64_t id, const absl::Status& status) {
  v1::InvalidationResult& result = invalidation_answers_.emplace_back();
  result.set_id(id);
  if (!status.ok()) *result.mutable_failure() = FailureOf(status);
}

absl::Status HostReconciler::ApplyMachine(const v1::Fence& fence,
                                          const v1::DesiredVirtualMachine& desired) {
  auto it = machines_.find(desired.uid());
  if (it == machines_.end() && desired.absent()) {
    v1::VirtualMachineResult result;
    result.set_uid(desired.uid());
    result.set_generation(desired.generation());
    result.set_absent(true);
    AnswerMachine(std::move(result));
    return absl::OkStatus();
  }
  if (it == machines_.end()) {
    auto shim = launcher_.Launch(desired.name(), desired.uid());
    if (!shim.ok()) {
      v1::VirtualMachineResult result;
      result.set_uid(desired.uid());
      result.set_generation(desired.generation());
      *result.mutable_failure() =
          MakeFailure(v1::Failure::KIND_PERMANENT, "SHIM_LAUNCH_FAILED", shim.status());
      AnswerMachine(std::move(result));
      return absl::OkStatus();
    }
    it = machines_.emplace(desired.uid(), Machine{desired.name(), *shim, {}}).first;
  }
  Machine& machine = it->second;
  v1::DesiredVirtualMachine told = desired;
  MarkUnplugged(&told);
  RETURN_IF_ERROR(machine.shim->Apply(fence, &told, {}));
  machine.desired = std::move(told);
  machine.fence = fence;
  UpdateEndpoints(machine, desired);
  return absl::OkStatus();
}

void HostReconciler::MarkUnplugged(v1::DesiredVirtualMachine* desired) const {
  desired->clear_unplugged_devices();
  for (const Bdf& device : desired->devices()) {
    // One that never was there has a reason of its own, which attaching finds.
    const bool is_lost = ever_plugged_.contains(device) && !plugged_.contains(device);
    if (is_lost) desired->add_unplugged_devices(device);
  }
}

void HostReconciler::UpdateInventory(v1::Inventory inventory) {
  const std::set<Bdf> before = std::exchange(plugged_, PluggedDevices(inventory));
  ever_plugged_.insert(plugged_.begin(), plugged_.end());
  inventory_ = std::move(inventory);
  inventory_changed_ = true;
  for (auto& [uid, machine] : machines_) {
    const auto came_or_went = [&](const Bdf& device) {
      return before.contains(device) != plugged_.contains(device);
    };
    const auto& devices = machine.desired.devices();
    if (std::none_of(devices.begin(), devices.end(), came_or_went)) continue;
    MarkUnplugged(&machine.desired);
    // A refusal means that the shim has heard of a newer fence, with which it is told anew.
    machine.shim->Apply(machine.fence, &machine.desired, {}).IgnoreError();
  }
}

void HostReconciler::UpdateEndpoints(Machine& machine, const v1::DesiredVirtualMachine& desired) {
  std::set<Bdf> wanted;
  if (!desired.absent()) wanted.insert(desired.devices().begin(), desired.devices().end());
  for (const Bdf& device : machine.devices) {
    if (!wanted.contains(device)) endpoints_.Close(machine.name, device);
  }
  for (const Bdf& device : wanted) {
    if (machine.devices.contains(device)) continue;
    const absl::Status status = endpoints_.Open(machine.name, device, machine.shim);
    if (status.ok()) continue;
    v1::VirtualMachineResult result;
    result.set_uid(desired.uid());
    result.set_generation(desired.generation());
    *result.mutable_failure() =
        MakeFailure(v1::Failure::KIND_PERMANENT, "VMM_ENDPOINT_FAILED", status);
    AnswerMachine(std::move(result));
  }
  machine.devices = std::move(wanted);
}

absl::Status HostReconciler::ApplyBindings(const v1::Fence& fence, const v1::Desired& desired) {
  std::map<std::string, std::vector<v1::DesiredBinding>> by_machine;
  for (const auto& binding : desired.bindings()) by_machine[binding.vm_uid()].push_back(binding);
  for (const auto& [vm_uid, bindings] : by_machine) {
    auto it = machines_.find(vm_uid);
    if (it != machines_.end()) {
      RETURN_IF_ERROR(it->second.shim->Apply(fence, nullptr, bindings));
      continue;
    }
    for (const auto& binding : bindings) {
      v1::Result result;
      result.set_uid(binding.uid());
      result.set_generation(binding.generation());
      if (binding.absent()) {
        result.set_outcome(v1::Result::OUTCOME_ABSENT);
      } else {
        result.set_outcome(v1::Result::OUTCOME_FAILED);
        *result.mutable_failure() =
            MakeFailure(v1::Failure::KIND_PERMANENT, "VM_UNKNOWN",
                        absl::NotFoundError("the owner of its virtual machine does not run"));
      }
      AnswerBinding(std::move(result));
    }
  }
  return absl::OkStatus();
}

void HostReconciler::Collect(ShimReport report) {
  for (auto& machine : report.virtual_machines) {
    if (machine.absent()) Retire(machine.uid());
    AnswerMachine(std::move(machine));
  }
  for (auto& binding : report.bindings) AnswerBinding(std::move(binding));
}

void HostReconciler::Retire(const std::string& vm_uid) {
  auto it = machines_.find(vm_uid);
  if (it == machines_.end()) return;
  for (const Bdf& device : it->second.devices) endpoints_.Close(it->second.name, device);
  machines_.erase(it);
  // What it held is gone by its own word; a refusal would mean it got new work meanwhile,
  // and then Launch finds it again.
  launcher_.Retire(vm_uid).IgnoreError();
}

void HostReconciler::Lose(const std::string& vm_uid) {
  const auto lost = machines_.find(vm_uid);
  if (lost == machines_.end()) return;
  for (const Bdf& device : lost->second.devices) endpoints_.Close(lost->second.name, device);
  machines_.erase(lost);
}

void HostReconciler::AnswerMachine(v1::VirtualMachineResult result) {
  // Only the newest word about a machine matters.
  auto same = [&](const auto& other) { return other.uid() == result.uid(); };
  std::erase_if(machine_answers_, same);
  machine_answers_.push_back(std::move(result));
}

void HostReconciler::AnswerBinding(v1::Result result) {
  auto [it, is_new] = binding_answers_.try_emplace(result.uid());
  if (is_new) binding_order_.push_back(result.uid());
  // A repeated outcome replaces the one that waits, so that a flapping binding cannot fill
  // the queue while the server is slow.
  std::erase_if(it->second, [&](const v1::Result& waiting) {
    return waiting.generation() == result.generation() && waiting.outcome() == result.outcome();
  });
  it->second.push_back(std::move(result));
}

std::optional<v1::SyncRequest> HostReconciler::NextResults() {
  if (!welcome_.has_value()) return std::nullopt;
  v1::SyncRequest request;
  if (std::exchange(inventory_changed_, false)) {
    *request.mutable_inventory() = inventory_;
    return request;
  }
  const bool nothing =
      machine_answers_.empty() && binding_order_.empty() && invalidation_answers_.empty() && acked_;
  if (nothing) return std::nullopt;
  v1::Results& results = *request.mutable_results();
  results.set_acked_seq(taken_in_seq_);
  auto room = [&] {
    return results.virtual_machines_size() + results.bindings_size() +
               results.invalidations_size() <
           kMaxAnswersInMessage;
  };
  for (; room() && !machine_answers_.empty(); machine_answers_.pop_front()) {
    *results.add_virtual_machines() = std::move(machine_answers_.front());
  }
  for (; room() && !binding_order_.empty(); binding_order_.pop_front()) {
    auto answers = binding_answers_.extract(binding_order_.front());
    for (auto& answer : answers.mapped()) *results.add_bindings() = std::move(answer);
  }
  for (; room() && !invalidation_answers_.empty(); invalidation_answers_.pop_front()) {
    *results.add_invalidations() = std::move(invalidation_answers_.front());
  }
  acked_ = true;
  return request;
}

}  // namespace nestor::agent
