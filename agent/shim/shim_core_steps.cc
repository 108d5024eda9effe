// The half of ShimCore that makes, orders and follows up steps.
#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/shim/failure.h"
#include "agent/shim/shim_core.h"

namespace nestor::agent {
namespace {

// Takes out of `regions` what is not in `memory` of `device`.
void KeepOnly(const std::map<Bdf, std::set<MemoryRegion>>& memory, const Bdf& device,
              std::set<MemoryRegion>* regions) {
  const auto mapped = memory.find(device);
  std::erase_if(*regions, [&](const MemoryRegion& region) {
    return mapped == memory.end() || !mapped->second.contains(region);
  });
}

}  // namespace

struct ShimCore::StepBegins {
  ShimCore& core;

  void operator()(const BindTable& step) const { Attempt(step.key); }
  void operator()(const ReplaceTable& step) const { Attempt(step.key); }
  template <typename StepType>
  void operator()(const StepType&) const {}

  void Attempt(const BindingKey& key) const { core.bindings_.BeginAttempt(key, core.vm_instance_); }
};

// Each says whether other steps may be needed now than before.
struct ShimCore::StepSucceeded {
  ShimCore& core;
  const StepResult& result;
  const absl::Time now;

  bool operator()(const AttachDevice& step) const {
    core.capabilities_[step.device] = result.capabilities;
    return true;
  }
  bool operator()(const DetachDevice& step) const {
    core.capabilities_.erase(step.device);
    core.FinishReset(step.device, absl::AbortedError("the device was taken away"));
    return true;
  }
  bool operator()(const MapRegion&) const { return true; }
  bool operator()(const UnmapRegion&) const { return true; }
  bool operator()(const AllocatePasid&) const { return false; }
  bool operator()(const FreePasid&) const { return false; }
  bool operator()(const BindTable& step) const {
    return core.bindings_.Bound(step.key, step.table, {result.duration, false}, now);
  }
  bool operator()(const ReplaceTable& step) const {
    const CallTiming timing{result.duration, core.options_.replace_has_gap};
    return core.bindings_.Bound(step.key, step.table, timing, now);
  }
  bool operator()(const UnbindTable& step) const { return core.bindings_.Unbound(step.key, now); }
  bool operator()(const ResetFunction& step) const {
    core.FinishReset(step.device, absl::OkStatus());
    return true;
  }
};

struct ShimCore::StepFailed {
  ShimCore& core;
  const absl::Status& status;
  const v1::Failure& failure;
  const absl::Time now;

  void operator()(const AttachDevice&) const {}
  void operator()(const DetachDevice&) const {}
  void operator()(const MapRegion&) const {}
  void operator()(const UnmapRegion&) const {}
  void operator()(const AllocatePasid& step) const {
    core.bindings_.AllocateFailed(step.pasid, failure, now);
  }
  void operator()(const FreePasid& step) const {
    core.bindings_.FreeFailed(step.pasid, failure, now);
  }
  void operator()(const BindTable& step) const {
    core.bindings_.BindFailed(step.key, failure, /*lost=*/false, now);
  }
  void operator()(const ReplaceTable& step) const {
    const bool lost = status.code() == absl::StatusCode::kDataLoss;
    if (lost) {
      core.held_.bindings.erase(step.key);
      // The next attempt is a bind, and it waits as long.
      core.failures_[BindTable{step.key, step.table}] = core.failures_[step];
    }
    core.bindings_.BindFailed(step.key, failure, lost, now);
  }
  void operator()(const UnbindTable& step) const {
    core.bindings_.UnbindFailed(step.key, failure, now);
    for (const Bdf& device : std::set<Bdf>(core.resets_)) core.FinishReset(device, status);
  }
  void operator()(const ResetFunction& step) const { core.FinishReset(step.device, status); }
};

template <typename StepType>
void ShimCore::ForgetFailures() {
  std::erase_if(failures_, [](const auto& failure) {
    return std::holds_alternative<StepType>(failure.first);
  });
}
template void ShimCore::ForgetFailures<AttachDevice>();
template void ShimCore::ForgetFailures<MapRegion>();
template void ShimCore::ForgetFailures<UnmapRegion>();
template void ShimCore::ForgetFailures<UnbindTable>();

void ShimCore::Settle(absl::Time now) {
  bindings_.Judge(Situation(), now);
  AnswerMachine();
  plan_is_old_ = true;
}

MachineSituation ShimCore::Situation() const {
  MachineSituation situation;
  situation.known = machine_.has_value();
  situation.vm_instance = vm_instance_;
  situation.memory_failure = MemoryFailure();
  situation.replace_has_gap = options_.replace_has_gap;
  situation.after_loss = after_loss_;
  if (!machine_.has_value()) return situation;
  for (const Bdf& device : machine_->devices) {
    DeviceSituation& its = situation.devices[device];
    const auto capabilities = capabilities_.find(device);
    if (capabilities != capabilities_.end()) its.capabilities = capabilities->second;
    const auto failure = failures_.find(AttachDevice{device});
    if (failure != failures_.end()) {
      its.attach_failure = StepFailure(failure->second.status, failure->second.decision);
    }
    its.unplugged = IsUnplugged(device);
    its.monitor_connected = monitors_.contains(device);
    its.has_memory = held_.memory.contains(device);
  }
  return situation;
}

AddressSpaceState ShimCore::Goal() const {
  AddressSpaceState goal;
  if (!machine_.has_value()) return goal;
  for (const Bdf& device : machine_->devices) {
    if (!IsUnplugged(device)) goal.devices.insert(device);
  }
  for (const Bdf& device : goal.devices) {
    std::set<MemoryRegion> regions = memory_.Wanted(device);
    // The page tables of a guest's last boot must not walk the memory of its next one.
    if (bindings_.HasEnded(device)) KeepOnly(held_.memory, device, &regions);
    if (!regions.empty()) goal.memory[device] = std::move(regions);
  }
  if (resets_.empty()) goal.bindings = bindings_.Wanted();
  std::erase_if(goal.bindings,
                [this](const auto& binding) { return IsUnplugged(binding.first.device); });
  return goal;
}

void ShimCore::MakePlan() {
  plan_ = Diff(Goal(), held_);
  next_ = 0;
  plan_is_old_ = false;
  retry_at_.reset();
  // A failure of what is no longer wanted says nothing.
  const std::set<Step> wanted(plan_.begin(), plan_.end());
  std::erase_if(failures_, [&](const auto& failure) { return !wanted.contains(failure.first); });
}

std::optional<Step> ShimCore::NextStep(absl::Time now) {
  std::optional<Step> step = PickStep(now);
  const bool frees_a_key = step.has_value() && (std::holds_alternative<UnbindTable>(*step) ||
                                                std::holds_alternative<FreePasid>(*step));
  if (!frees_a_key && bindings_.ForgetAbsent(held_, now)) {
    // Another binding may have waited for the key.
    Settle(now);
    step = PickStep(now);
  }
  if (step.has_value()) std::visit(StepBegins{*this}, *step);
  running_ = step;
  return step;
}

std::optional<Step> ShimCore::PickStep(absl::Time now) {
  if (retry_at_.has_value() && *retry_at_ <= now) plan_is_old_ = true;
  if (plan_is_old_) MakePlan();
  if (!resets_.empty() && held_.bindings.empty()) return ResetFunction{*resets_.begin()};
  while (next_ < plan_.size()) {
    const Step& step = plan_[next_++];
    if (IsPossible(step, held_) && !IsDelayed(step, now)) return step;
  }
  return std::nullopt;
}

bool ShimCore::IsDelayed(const Step& step, absl::Time now) {
  const auto failure = failures_.find(step);
  if (failure == failures_.end()) return false;
  const std::optional<absl::Time> retry_at = failure->second.decision.retry_at;
  if (!retry_at.has_value()) return true;
  if (*retry_at <= now) return false;
  retry_at_ = std::min(*retry_at, retry_at_.value_or(absl::InfiniteFuture()));
  return true;
}

void ShimCore::FinishStep(const StepResult& result, absl::Time now) {
  const Step step = *std::exchange(running_, std::nullopt);
  if (result.status.ok()) {
    failures_.erase(step);
    ApplyStep(step, &held_);
    if (std::visit(StepSucceeded{*this, result, now}, step)) Settle(now);
  } else {
    const v1::Failure failure = RecordFailure(step, result.status, now);
    std::visit(StepFailed{*this, result.status, failure, now}, step);
    Settle(now);
  }
  AnswerMachine();
}

v1::Failure ShimCore::RecordFailure(const Step& step, const absl::Status& status, absl::Time now) {
  FailedStep& failed = failures_[step];
  ++failed.attempts;
  failed.status = status;
  failed.decision = DecideRetry(options_.backoff, status, failed.attempts, options_.seed, now);
  if (IsRelease(step) && !failed.decision.retry_at.has_value()) {
    failed.decision.retry_at = now + Delay(options_.backoff, failed.attempts, options_.seed);
  }
  return StepFailure(failed.status, failed.decision);
}

void ShimCore::FinishReset(const Bdf& device, const absl::Status& status) {
  if (resets_.erase(device) > 0) reset_results_[device] = status;
}

std::optional<v1::Failure> ShimCore::MemoryFailure() const {
  absl::Status status = memory_.Problem();
  RetryDecision decision{"MEMORY_INCOMPLETE", std::nullopt};
  for (const auto& [step, failed] : failures_) {
    if (!std::holds_alternative<MapRegion>(step)) continue;
    status = failed.status;
    decision.retry_at = failed.decision.retry_at;
    break;
  }
  if (status.ok()) return std::nullopt;
  v1::Failure failure = StepFailure(status, decision);
  // Whatever the kernel said: other memory may come.
  failure.set_kind(v1::Failure::KIND_TRANSIENT);
  return failure;
}

std::optional<v1::Failure> ShimCore::MachineFailure() const {
  for (const auto& [step, failed] : failures_) {
    if (std::holds_alternative<AttachDevice>(step) || std::holds_alternative<DetachDevice>(step) ||
        std::holds_alternative<UnmapRegion>(step)) {
      return StepFailure(failed.status, failed.decision);
    }
  }
  if (!machine_->absent && !machine_->unplugged.empty()) {
    return TransientFailure("DEVICE_UNPLUGGED",
                            absl::StrCat(absl::StrJoin(machine_->unplugged, ", "),
                                         " of the machine is unplugged from the host"));
  }
  return MemoryFailure();
}

// Whether there is something to say of every device yet.
bool ShimCore::MachineIsSettled(const std::optional<v1::Failure>& failure) const {
  if (machine_->absent) return HoldsNothing() || failure.has_value();
  return std::all_of(machine_->devices.begin(), machine_->devices.end(),
                     [this](const Bdf& device) { return AttachOutcome(device).has_value(); });
}

void ShimCore::AnswerMachine() {
  if (!machine_.has_value()) return;
  const std::optional<v1::Failure> failure = MachineFailure();
  if (!MachineIsSettled(failure)) return;
  v1::VirtualMachineResult result;
  result.set_uid(options_.vm_uid);
  result.set_generation(machine_->generation);
  result.set_absent(machine_->absent && HoldsNothing());
  result.set_vm_instance(vm_instance_);
  if (failure.has_value()) *result.mutable_failure() = *failure;
  if (told_machine_.has_value() &&
      told_machine_->SerializeAsString() == result.SerializeAsString()) {
    return;
  }
  told_machine_ = result;
  machine_answers_.push_back(std::move(result));
}

}  // namespace nestor::agent
