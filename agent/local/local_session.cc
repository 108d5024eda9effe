#include "agent/local/local_session.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"

namespace nestor::agent {
namespace {

bool IsFinal(const v1::Result& result) {
  return result.outcome() == v1::Result::OUTCOME_PROGRAMMED ||
         result.failure().kind() == v1::Failure::KIND_PERMANENT;
}

}  // namespace

LocalSession::LocalSession(HostReconciler& reconciler, const std::string& incarnation)
    : reconciler_(reconciler) {
  fence_.set_incarnation(incarnation);
  fence_.set_epoch(1);
  fence_.set_head_revision(1);
  reconciler_.BeginSession();
  v1::SyncResponse welcome;
  *welcome.mutable_welcome()->mutable_fence() = fence_;
  // A Welcome in its place, with a whole fence, is always taken.
  reconciler_.TakeIn(welcome).IgnoreError();
}

void LocalSession::Bind(const v1::BindRequest& request, Done done) {
  if (absl::Status status = CheckDevice(request.virtual_machine(), request.device());
      !status.ok()) {
    return done(status);
  }
  const BindingKey key{request.device(), request.pasid()};
  Binding& binding = bindings_[key];
  if (binding.absent) return done(errors::Deleting(NameOf(binding)));
  v1::Desired desired;
  const Machine& machine = DeclareMachine(request.virtual_machine(), request.device(), &desired);
  if (binding.uid.empty()) binding.uid = absl::StrCat("local-", next_uid_++);
  binding.vm_name = request.virtual_machine();
  Finish(binding.done, errors::Contention(NameOf(binding)));
  ++binding.generation;
  binding.wait = request.wait();
  binding.answer.Clear();
  binding.done = std::move(done);

  v1::DesiredBinding& wanted = *desired.add_bindings();
  wanted.set_name(NameOf(binding));
  wanted.set_uid(binding.uid);
  wanted.set_generation(binding.generation);
  wanted.set_vm_uid(machine.uid);
  wanted.set_device(key.device);
  wanted.set_pasid(key.pasid);
  *wanted.mutable_page_table() = request.page_table();
  wanted.set_allow_translation_gap(request.allow_translation_gap());
  if (absl::Status status = Send(std::move(desired)); !status.ok()) {
    Finish(bindings_[key].done, status);
  }
}

void LocalSession::Unbind(const v1::UnbindRequest& request, Done done) {
  if (request.device().empty()) return UnbindMachine(request.virtual_machine(), std::move(done));
  const auto found = bindings_.find({request.device(), request.pasid()});
  if (found == bindings_.end() || found->second.vm_name != request.virtual_machine()) {
    return done(errors::NotFound(absl::StrCat("PASID ", request.pasid(), " of ", request.device(),
                                              " of ", request.virtual_machine())));
  }
  v1::Desired desired;
  Remove(found->second, &desired);
  found->second.done = std::move(done);
  const BindingKey key = found->first;
  if (absl::Status status = Send(std::move(desired)); !status.ok()) {
    Finish(bindings_[key].done, status);
  }
}

void LocalSession::UnbindMachine(const std::string& vm_name, Done done) {
  const auto found = machines_.find(vm_name);
  if (found == machines_.end()) return done(errors::NotFound(vm_name));
  Machine& machine = found->second;
  v1::Desired desired;
  for (auto& [key, binding] : bindings_) {
    if (binding.vm_name == vm_name) Remove(binding, &desired);
  }
  machine.absent = true;
  v1::DesiredVirtualMachine& wanted = *desired.add_virtual_machines();
  wanted.set_name(vm_name);
  wanted.set_uid(machine.uid);
  wanted.set_generation(++machine.generation);
  wanted.set_absent(true);
  Done& waiting = leaving_[vm_name];
  Finish(waiting, errors::Contention(vm_name));
  waiting = std::move(done);
  if (absl::Status status = Send(std::move(desired)); !status.ok()) {
    Finish(leaving_[vm_name], status);
  }
}

absl::Status LocalSession::CheckDevice(const std::string& vm_name, const Bdf& device) const {
  for (const auto& [name, machine] : machines_) {
    if (name == vm_name && machine.absent) return errors::Deleting(vm_name);
    if (name != vm_name && machine.devices.contains(device)) {
      return errors::DeviceInUse(device, name);
    }
  }
  return absl::OkStatus();
}

LocalSession::Machine& LocalSession::DeclareMachine(const std::string& vm_name, const Bdf& device,
                                                    v1::Desired* desired) {
  Machine& machine = machines_[vm_name];
  if (machine.uid.empty()) machine.uid = absl::StrCat("local-", next_uid_++);
  if (!machine.devices.insert(device).second) return machine;
  v1::DesiredVirtualMachine& wanted = *desired->add_virtual_machines();
  wanted.set_name(vm_name);
  wanted.set_uid(machine.uid);
  wanted.set_generation(++machine.generation);
  for (const Bdf& owned : machine.devices) wanted.add_devices(owned);
  return machine;
}

void LocalSession::Remove(Binding& binding, v1::Desired* desired) {
  Finish(binding.done, errors::Contention(NameOf(binding)));
  binding.absent = true;
  v1::DesiredBinding& wanted = *desired->add_bindings();
  wanted.set_name(NameOf(binding));
  wanted.set_uid(binding.uid);
  wanted.set_generation(++binding.generation);
  wanted.set_vm_uid(machines_[binding.vm_name].uid);
  wanted.set_absent(true);
}

absl::Status LocalSession::Send(v1::Desired desired) {
  desired.set_delivery_seq(++delivery_seq_);
  fence_.set_head_revision(fence_.head_revision() + 1);
  *desired.mutable_fence() = fence_;
  v1::SyncResponse message;
  *message.mutable_desired() = std::move(desired);
  const absl::Status status = reconciler_.TakeIn(message);
  // A message that was refused was not counted.
  if (!status.ok()) --delivery_seq_;
  TakeResults();
  return status;
}

void LocalSession::TakeResults() {
  while (const auto request = reconciler_.NextResults()) {
    for (const v1::VirtualMachineResult& machine : request->results().virtual_machines()) {
      TakeMachineResult(machine);
    }
    for (const v1::Result& result : request->results().bindings()) TakeResult(result);
  }
  for (auto& [key, binding] : bindings_) {
    if (!binding.absent && IsAnswered(binding)) Finish(binding.done, binding.answer);
  }
}

bool LocalSession::IsAnswered(const Binding& binding) const {
  if (IsFinal(binding.answer)) return true;
  const Machine& machine = machines_.at(binding.vm_name);
  // Accepted without more is said before anything was looked at.
  const bool is_known = binding.answer.has_failure();
  return !binding.wait && is_known && machine.settled_generation == machine.generation;
}

void LocalSession::TakeResult(const v1::Result& result) {
  const auto found = std::find_if(bindings_.begin(), bindings_.end(), [&](const auto& entry) {
    return entry.second.uid == result.uid();
  });
  if (found == bindings_.end() || found->second.generation != result.generation()) return;
  Binding& binding = found->second;
  if (!binding.absent) {
    binding.answer = result;
    return;
  }
  if (result.outcome() != v1::Result::OUTCOME_ABSENT) return;
  Done done = std::move(binding.done);
  bindings_.erase(found);
  Finish(done, result);
}

void LocalSession::TakeMachineResult(const v1::VirtualMachineResult& result) {
  const auto found = std::find_if(machines_.begin(), machines_.end(), [&](const auto& entry) {
    return entry.second.uid == result.uid();
  });
  if (found == machines_.end()) return;
  if (!result.absent()) {
    found->second.settled_generation = result.generation();
    return;
  }
  const std::string name = found->first;
  machines_.erase(found);
  std::erase_if(bindings_, [&](const auto& entry) { return entry.second.vm_name == name; });
  auto waiting = leaving_.extract(name);
  v1::Result gone;
  gone.set_uid(result.uid());
  gone.set_generation(result.generation());
  gone.set_outcome(v1::Result::OUTCOME_ABSENT);
  if (!waiting.empty()) Finish(waiting.mapped(), gone);
}

std::string LocalSession::NameOf(const Binding& binding) {
  return absl::StrCat(binding.vm_name, "/pasidBindings/", binding.uid);
}

void LocalSession::Finish(Done& done, absl::StatusOr<v1::Result> outcome) {
  if (Done finished = std::exchange(done, nullptr)) finished(std::move(outcome));
}

}  // namespace nestor::agent
