// The resources as the API shows them.

#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "api/support/resource_name.h"
#include "server/core/decision.h"
#include "server/core/view.h"

namespace nestor::server {
namespace {

using BindingState = v1::PasidBindingStatus;

// Everything before "/pasidBindings/".
absl::string_view MachineOf(absl::string_view binding) {
  return binding.substr(0, binding.rfind("/pasidBindings/"));
}

template <typename Row>
v1::Metadata RenderMetadata(const Row& row, int64_t revision) {
  const storage::v1::RowMetadata& stored = row.metadata();
  v1::Metadata metadata;
  metadata.set_uid(stored.uid());
  metadata.set_etag(Etag(row));
  metadata.set_generation(stored.generation());
  metadata.set_revision(revision);
  *metadata.mutable_create_time() = stored.create_time();
  *metadata.mutable_update_time() = stored.update_time();
  if (stored.has_delete_time()) *metadata.mutable_delete_time() = stored.delete_time();
  *metadata.mutable_labels() = stored.labels();
  return metadata;
}

void AddAccepted(const PasidBindingRecord& record, v1::PasidBindingStatus* status) {
  v1::Condition& accepted = *status->add_conditions();
  accepted.set_type("Accepted");
  accepted.set_observed_generation(record.row.metadata().generation());
  if (status->times().has_accepted()) {
    accepted.set_status(v1::Condition::TRUTH_TRUE);
    accepted.set_reason("ACCEPTED");
    *accepted.mutable_last_transition_time() = status->times().accepted();
  } else {
    accepted.set_status(v1::Condition::TRUTH_FALSE);
    accepted.set_reason("WAITING_FOR_AGENT");
    accepted.set_message("the host's agent has not answered yet");
    *accepted.mutable_last_transition_time() = status->times().persisted();
  }
}

void AddProgrammed(const PasidBindingRecord& record, v1::PasidBindingStatus* status) {
  v1::Condition& programmed = *status->add_conditions();
  programmed.set_type("Programmed");
  programmed.set_observed_generation(record.row.metadata().generation());
  if (status->state() == BindingState::STATE_PROGRAMMED) {
    programmed.set_status(v1::Condition::TRUTH_TRUE);
    programmed.set_reason("PROGRAMMED");
    *programmed.mutable_last_transition_time() = status->times().programmed();
    return;
  }
  const v1::Failure& failure = status->failure();
  programmed.set_status(v1::Condition::TRUTH_FALSE);
  programmed.set_reason(failure.reason().empty() ? "WAITING" : failure.reason());
  programmed.set_message(failure.message());
  *programmed.mutable_last_transition_time() =
      status->times().has_failed() ? status->times().failed() : status->times().persisted();
}

// What was last seen of a host that fell silent may no longer hold.
void MarkUnknown(v1::PasidBindingStatus* status) {
  status->set_state(BindingState::STATE_UNKNOWN);
  for (v1::Condition& condition : *status->mutable_conditions()) {
    condition.set_status(v1::Condition::TRUTH_UNKNOWN);
    condition.set_reason("HOST_UNKNOWN");
    condition.set_message("the host's agent is silent");
  }
}

std::string WaitingMessage(absl::string_view leaving_host) {
  return absl::StrCat("hosts/", leaving_host, " has not let go of it yet");
}

// Nothing is told to the new host of a machine that was moved before the old one has let go.
void MarkWaiting(absl::string_view leaving_host, v1::PasidBindingStatus* status) {
  for (v1::Condition& condition : *status->mutable_conditions()) {
    condition.set_status(v1::Condition::TRUTH_FALSE);
    condition.set_reason("WAITING_FOR_OLD_HOST");
    condition.set_message(WaitingMessage(leaving_host));
  }
}

void MarkWaiting(absl::string_view leaving_host, int64_t generation,
                 v1::VirtualMachineStatus* status) {
  status->Clear();
  status->set_leaving_host(absl::StrCat("hosts/", leaving_host));
  v1::Condition& ready = *status->add_conditions();
  ready.set_type("Ready");
  ready.set_status(v1::Condition::TRUTH_FALSE);
  ready.set_reason("WAITING_FOR_OLD_HOST");
  ready.set_message(WaitingMessage(leaving_host));
  ready.set_observed_generation(generation);
}

// Of a host that was confirmed dead it is known: nothing there is bound.
void MarkFenced(const v1::HostFence& fence, v1::Condition* condition) {
  condition->set_status(v1::Condition::TRUTH_FALSE);
  condition->set_reason("HOST_FENCED");
  condition->set_message(FenceMessage(fence));
  *condition->mutable_last_transition_time() = fence.time();
}

void MarkFenced(const v1::HostFence& fence, v1::PasidBindingStatus* status) {
  status->set_state(BindingState::STATE_NOT_PROGRAMMED);
  status->clear_programmed_root();
  status->clear_programmed_generation();
  v1::Failure failure;
  failure.set_kind(v1::Failure::KIND_TRANSIENT);
  failure.set_reason("HOST_FENCED");
  failure.set_message(FenceMessage(fence));
  *status->mutable_failure() = std::move(failure);
  for (v1::Condition& condition : *status->mutable_conditions()) MarkFenced(fence, &condition);
}

void MarkFenced(const v1::HostFence& fence, v1::VirtualMachineStatus* status) {
  status->clear_vm_instance();
  status->clear_conditions();
  v1::Condition& ready = *status->add_conditions();
  ready.set_type("Ready");
  MarkFenced(fence, &ready);
}

void AddFenced(const v1::HostFence& fence, v1::HostStatus* status) {
  *status->mutable_fence() = fence;
  v1::Condition& fenced = *status->add_conditions();
  fenced.set_type("Fenced");
  fenced.set_status(v1::Condition::TRUTH_TRUE);
  fenced.set_reason("HOST_FENCED");
  fenced.set_message(absl::StrCat("fenced by ", fence.declared_by(), ": ", fence.evidence()));
  *fenced.mutable_last_transition_time() = fence.time();
}

void AddDrained(v1::HostStatus* status) {
  const v1::HostDrain& drain = status->drain();
  const bool is_empty = drain.virtual_machines() == 0;
  v1::Condition& drained = *status->add_conditions();
  drained.set_type("Drained");
  drained.set_status(is_empty ? v1::Condition::TRUTH_TRUE : v1::Condition::TRUTH_FALSE);
  drained.set_reason(is_empty ? "DRAINED" : "HOST_DRAINING");
  drained.set_message(is_empty ? "nothing is placed there any more"
                               : absl::StrCat(drain.virtual_machines(), " virtual machines with ",
                                              drain.bindings(),
                                              " bindings wait for their owners to move or delete "
                                              "them"));
}

}  // namespace

std::string FenceMessage(const v1::HostFence& fence) {
  return absl::StrCat("its host was fenced by ", fence.declared_by(), ": ", fence.evidence());
}

v1::Host View::HostResource(absl::string_view host) const {
  const HostRecord* record = FindHost(host);
  return record != nullptr ? HostResource(host, *record) : v1::Host();
}

v1::Host View::HostResource(absl::string_view host, const HostRecord& record) const {
  v1::Host resource;
  resource.set_name(absl::StrCat("hosts/", host));
  *resource.mutable_metadata() = RenderMetadata(record.row, record.revision);
  *resource.mutable_spec() = record.row.spec();
  v1::HostStatus& status = *resource.mutable_status();
  status = record.observed.status();
  status.set_state(nestor::server::StateOf(record));
  if (record.fence) AddFenced(record.fence->fence, &status);
  if (!record.row.has_drain()) return resource;
  *status.mutable_drain() = record.row.drain();
  status.mutable_drain()->set_virtual_machines(
      static_cast<int64_t>(record.virtual_machines.size() + record.departing.size()));
  for (const std::string& machine : record.departing) {
    status.mutable_drain()->set_bindings(status.drain().bindings() +
                                         FindDeparture(machine)->row.pasids_size());
  }
  for (const std::string& machine : record.virtual_machines) {
    const BindingCounts* counts = pasid_bindings_.CountsOf(machine);
    if (counts == nullptr) continue;
    status.mutable_drain()->set_bindings(
        std::accumulate(counts->begin(), counts->end(), status.drain().bindings()));
  }
  AddDrained(&status);
  return resource;
}

v1::Device View::DeviceResource(absl::string_view host, absl::string_view bdf) const {
  v1::Device device;
  const HostRecord* record = FindHost(host);
  if (record == nullptr) return device;
  auto it = record->devices.find(bdf);
  if (it == record->devices.end()) return device;
  device.set_name(DeviceName{std::string(host), std::string(bdf)}.ToString());
  *device.mutable_status() = it->second;
  device.mutable_status()->set_virtual_machine(DeviceClaim(host, bdf).holder);
  return device;
}

v1::VirtualMachine View::VirtualMachineResource(absl::string_view name) const {
  const VirtualMachineRecord* record = FindVirtualMachine(name);
  if (record == nullptr) return {};
  v1::VirtualMachine machine = RenderVirtualMachine(name, *record);
  v1::VirtualMachineStatus& status = *machine.mutable_status();
  status.set_state(StateOf(*record));
  const FenceRecord* fence = FindFence(record->host_id());
  if (fence != nullptr && record->leaving_host.empty()) MarkFenced(fence->fence, &status);
  const BindingCounts* counts = pasid_bindings_.CountsOf(name);
  if (counts == nullptr) return machine;
  const BindingCounts& bindings = *counts;
  status.set_bindings(std::accumulate(bindings.begin(), bindings.end(), int64_t{0}));
  constexpr auto kProgrammed = BindingState::STATE_PROGRAMMED;
  if (StateOn(*record, kProgrammed) == kProgrammed) {
    status.set_programmed_bindings(bindings[kProgrammed]);
  }
  return machine;
}

StateCounts View::CountStates() const {
  StateCounts counts;
  for (const auto& [id, host] : hosts_) {
    if (host.revision != 0) ++counts.hosts[nestor::server::StateOf(host)];
  }
  for (const auto& [name, machine] : virtual_machines_) ++counts.virtual_machines[StateOf(machine)];
  pasid_bindings_.VisitCounts([&](absl::string_view machine, const BindingCounts& bindings) {
    const VirtualMachineRecord* record = FindVirtualMachine(machine);
    for (size_t rung = 0; rung < bindings.size(); ++rung) {
      const auto state = static_cast<BindingState::State>(rung);
      counts.bindings[record != nullptr ? StateOn(*record, state) : state] += bindings[rung];
    }
  });
  return counts;
}

v1::PasidBinding View::PasidBindingResource(absl::string_view name) const {
  const std::optional<PasidBindingRecord> record = FindPasidBinding(name);
  return record ? PasidBindingResource(name, *record) : v1::PasidBinding();
}

v1::PasidBinding View::PasidBindingResource(absl::string_view name,
                                            const PasidBindingRecord& record) const {
  v1::PasidBinding binding = RenderPasidBinding(name, record);
  if (binding.metadata().has_delete_time()) return binding;
  const VirtualMachineRecord* machine = FindVirtualMachine(MachineOf(name));
  if (machine == nullptr) return binding;
  if (!machine->leaving_host.empty()) {
    MarkWaiting(machine->leaving_host, binding.mutable_status());
  } else if (const FenceRecord* fence = FindFence(machine->host_id())) {
    MarkFenced(fence->fence, binding.mutable_status());
  } else if (IsHostSilent(machine->host())) {
    MarkUnknown(binding.mutable_status());
  }
  return binding;
}

v1::VirtualMachineStatus::State View::StateOf(const VirtualMachineRecord& record) const {
  if (record.row.metadata().has_delete_time()) return v1::VirtualMachineStatus::STATE_DELETING;
  if (!record.leaving_host.empty() || IsHostFenced(record.host())) {
    return v1::VirtualMachineStatus::STATE_PENDING;
  }
  if (IsHostSilent(record.host())) return v1::VirtualMachineStatus::STATE_UNKNOWN;
  return record.observed.state() != v1::VirtualMachineStatus::STATE_UNSPECIFIED
             ? record.observed.state()
             : v1::VirtualMachineStatus::STATE_PENDING;
}

v1::PasidBindingStatus::State View::StateOf(absl::string_view name,
                                            const PasidBindingRecord& record) const {
  const VirtualMachineRecord* machine = FindVirtualMachine(MachineOf(name));
  return machine != nullptr ? StateOn(*machine, record.Rung()) : record.Rung();
}

v1::PasidBindingStatus::State View::StateOn(const VirtualMachineRecord& machine,
                                            v1::PasidBindingStatus::State rung) const {
  if (rung == BindingState::STATE_DELETING || !machine.leaving_host.empty()) return rung;
  if (IsHostFenced(machine.host())) return BindingState::STATE_NOT_PROGRAMMED;
  return IsHostSilent(machine.host()) ? BindingState::STATE_UNKNOWN : rung;
}

v1::HostStatus::State StateOf(const HostRecord& record) {
  if (record.fence) return v1::HostStatus::STATE_FENCED;
  const v1::HostStatus::State state = record.observed.status().state();
  return state != v1::HostStatus::STATE_UNSPECIFIED ? state : v1::HostStatus::STATE_NEVER_SEEN;
}

v1::VirtualMachine RenderVirtualMachine(absl::string_view name,
                                        const VirtualMachineRecord& record) {
  v1::VirtualMachine resource;
  resource.set_name(std::string(name));
  *resource.mutable_metadata() = RenderMetadata(record.row, record.revision);
  *resource.mutable_spec() = record.row.spec();
  *resource.mutable_status() = record.observed;
  v1::VirtualMachineStatus& status = *resource.mutable_status();
  if (!record.leaving_host.empty()) {
    MarkWaiting(record.leaving_host, record.row.metadata().generation(), &status);
  }
  if (resource.metadata().has_delete_time()) {
    status.set_state(v1::VirtualMachineStatus::STATE_DELETING);
  } else if (status.state() == v1::VirtualMachineStatus::STATE_UNSPECIFIED) {
    status.set_state(v1::VirtualMachineStatus::STATE_PENDING);
  }
  return resource;
}

v1::PasidBinding RenderPasidBinding(absl::string_view name, const PasidBindingRecord& record) {
  v1::PasidBinding resource;
  resource.set_name(std::string(name));
  *resource.mutable_metadata() = RenderMetadata(record.row, record.revision);
  *resource.mutable_spec() = record.row.spec();
  v1::PasidBindingStatus& status = *resource.mutable_status();
  status = record.observed;
  status.set_state(record.Rung());
  status.set_effective_pasid(record.row.effective_pasid());
  if (!record.IsCurrent()) {
    // Said of an older generation; what is programmed still holds.
    status.clear_times();
    status.clear_failure();
    status.clear_attempts();
  }
  *status.mutable_times()->mutable_persisted() = record.row.metadata().update_time();
  AddAccepted(record, &status);
  AddProgrammed(record, &status);
  return resource;
}

std::string Etag(const google::protobuf::Message& row) {
  return absl::StrFormat("%016x", Fingerprint(row));
}

}  // namespace nestor::server
