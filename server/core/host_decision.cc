#include "server/core/host_decision.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "api/support/errors.h"

namespace nestor::server {
namespace {

// A held binding occupies the kernel when it names the device it is bound on.
bool InKernel(const v1::Result& held) { return !held.device().empty(); }

v1::Orphan ToOrphan(const v1::Result& held) {
  v1::Orphan orphan;
  orphan.set_uid(held.uid());
  orphan.set_device(held.device());
  orphan.set_pasid(held.pasid());
  orphan.set_root(held.programmed_root());
  return orphan;
}

v1::VirtualMachineResult ToResult(const v1::HeldVirtualMachine& held) {
  v1::VirtualMachineResult result;
  result.set_uid(held.uid());
  result.set_generation(held.generation());
  result.set_vm_instance(held.vm_instance());
  if (held.has_memory_failure()) *result.mutable_failure() = held.memory_failure();
  return result;
}

absl::Status CheckAnswer(const v1::Results& results, int64_t sent_seq) {
  if (results.acked_seq() < 0 || results.acked_seq() > sent_seq) {
    return errors::ProtocolError(absl::StrCat("acked_seq ", results.acked_seq(),
                                              " was never sent; the last was ", sent_seq));
  }
  for (const auto& machine : results.virtual_machines()) {
    if (machine.uid().empty()) return errors::ProtocolError("a machine's answer has no uid");
  }
  for (const auto& binding : results.bindings()) {
    if (binding.uid().empty()) return errors::ProtocolError("a binding's answer has no uid");
    if (binding.outcome() == v1::Result::OUTCOME_UNSPECIFIED ||
        !v1::Result::Outcome_IsValid(binding.outcome())) {
      return errors::ProtocolError(
          absl::StrCat("binding ", binding.uid(), " is answered without a known outcome"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

HostEffects HostDecision::Connect(const v1::Hello& hello, HostIntent intent,
                                  std::vector<v1::Orphan>* orphans) {
  HostEffects effects;
  absl::flat_hash_set<std::string> intended;
  for (const auto& binding : intent.bindings) intended.insert(binding.uid());
  for (const auto& machine : hello.held_virtual_machines()) {
    answered_[machine.uid()] = {machine.generation(), false};
    effects.observed_machines.push_back(ToResult(machine));
  }
  for (const auto& held : hello.held_bindings()) {
    if (!intended.contains(held.uid())) {
      if (InKernel(held)) orphans->push_back(ToOrphan(held));
      continue;
    }
    answered_[held.uid()] = {held.generation(), false};
    effects.observed_bindings.push_back(held);
  }
  MarkDirty(std::move(intent));
  Pump(&effects);
  return effects;
}

HostEffects HostDecision::Change(HostIntent intent, int64_t head_revision) {
  fence_.set_head_revision(std::max(fence_.head_revision(), head_revision));
  HostEffects effects;
  MarkDirty(std::move(intent));
  Pump(&effects);
  return effects;
}

absl::StatusOr<HostEffects> HostDecision::Answer(const v1::Results& results) {
  if (absl::Status status = CheckAnswer(results, sent_seq_); !status.ok()) return status;
  HostEffects effects;
  for (const auto& machine : results.virtual_machines()) {
    Settle(machine.uid(), {machine.generation(), machine.absent()});
    if (machine.absent()) {
      int64_t& generation = effects.absent_machines[machine.uid()];
      generation = std::max(generation, machine.generation());
    } else {
      effects.observed_machines.push_back(machine);
    }
  }
  for (const auto& binding : results.bindings()) {
    const bool absent = binding.outcome() == v1::Result::OUTCOME_ABSENT;
    Settle(binding.uid(), {binding.generation(), absent});
    if (absent) {
      effects.absent_bindings.push_back(binding.uid());
    } else if (binding.outcome() != v1::Result::OUTCOME_SUPERSEDED) {
      effects.observed_bindings.push_back(binding);
    }
  }
  Pump(&effects);
  return effects;
}

bool HostDecision::IsTold(const std::string& uid, Version wanted) const {
  auto answered = answered_.find(uid);
  if (answered != answered_.end() && answered->second >= wanted) return true;
  auto on_its_way = in_flight_.find(uid);
  return on_its_way != in_flight_.end() && on_its_way->second >= wanted;
}

void HostDecision::MarkDirty(HostIntent intent) {
  for (auto& machine : intent.virtual_machines) {
    if (IsTold(machine.uid(), {machine.generation(), machine.absent()})) continue;
    std::string uid = machine.uid();
    dirty_machines_.insert_or_assign(std::move(uid), std::move(machine));
  }
  for (auto& binding : intent.bindings) {
    if (IsTold(binding.uid(), {binding.generation(), binding.absent()})) continue;
    std::string uid = binding.uid();
    dirty_bindings_.insert_or_assign(std::move(uid), std::move(binding));
  }
}

void HostDecision::Settle(const std::string& uid, Version version) {
  Version& answered = answered_[uid];
  answered = std::max(answered, version);
  auto it = in_flight_.find(uid);
  if (it != in_flight_.end() && it->second <= version) in_flight_.erase(it);
}

void HostDecision::Pump(HostEffects* effects) {
  v1::SyncResponse message;
  v1::Desired& desired = *message.mutable_desired();
  // Moves what is dirty and not on its way yet into the message.
  auto take = [this](auto& dirty, auto* out) {
    for (auto it = dirty.begin(); it != dirty.end() && in_flight_.size() < kWindow;) {
      const auto [entry, is_new] =
          in_flight_.try_emplace(it->first, Version{it->second.generation(), it->second.absent()});
      if (!is_new) {
        ++it;
        continue;
      }
      *out->Add() = std::move(it->second);
      it = dirty.erase(it);
    }
  };
  take(dirty_machines_, desired.mutable_virtual_machines());
  // A binding never overtakes its machine.
  if (dirty_machines_.empty()) take(dirty_bindings_, desired.mutable_bindings());
  if (desired.virtual_machines().empty() && desired.bindings().empty()) return;
  desired.set_delivery_seq(++sent_seq_);
  *desired.mutable_fence() = fence_;
  effects->send.push_back(std::move(message));
}

}  // namespace nestor::server
