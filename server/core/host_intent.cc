#include "server/core/host_intent.h"

#include "absl/strings/strip.h"
#include "api/support/resource_name.h"

namespace nestor::server {
namespace {

std::string MachineOf(absl::string_view name) {
  auto binding = PasidBindingName::Parse(name);
  return binding.ok() ? binding->Parent().ToString() : std::string(name);
}

void AddAbsentMachine(const std::string& name, const std::string& uid, int64_t generation,
                      HostIntent* intent) {
  v1::DesiredVirtualMachine& desired = intent->virtual_machines.emplace_back();
  desired.set_name(name);
  desired.set_uid(uid);
  desired.set_generation(generation);
  desired.set_absent(true);
}

// Whether the machine's host may be told of it.
bool IsOpen(const View& view, const VirtualMachineRecord& machine) {
  return machine.leaving_host.empty() && view.FindFence(machine.host_id()) == nullptr;
}

}  // namespace

HostIntent IntentOfHost(const View& view, absl::string_view host) {
  HostIntent intent;
  const HostRecord* record = view.FindHost(host);
  if (record == nullptr) return intent;
  if (view.FindFence(host) != nullptr) return intent;
  for (const std::string& machine : record->departing) AddDepartureIntent(view, machine, &intent);
  for (const std::string& machine : record->virtual_machines) {
    AddVirtualMachineIntent(view, machine, &intent);
    for (const std::string& binding : view.BindingsOf(machine)) {
      AddPasidBindingIntent(view, binding, &intent);
    }
  }
  return intent;
}

void AddDepartureIntent(const View& view, absl::string_view machine, HostIntent* intent) {
  const DepartureRecord* departure = view.FindDeparture(machine);
  if (departure == nullptr) return;
  AddAbsentMachine(std::string(machine), departure->row.uid(), departure->row.generation(), intent);
}

HostIntent ReleaseIntent(const v1::Hello& hello) {
  HostIntent intent;
  for (const v1::HeldVirtualMachine& held : hello.held_virtual_machines()) {
    AddAbsentMachine(held.name(), held.uid(), held.generation(), &intent);
  }
  return intent;
}

void AddVirtualMachineIntent(const View& view, absl::string_view name, HostIntent* intent) {
  const VirtualMachineRecord* record = view.FindVirtualMachine(name);
  if (record == nullptr || !IsOpen(view, *record)) return;
  const storage::v1::RowMetadata& metadata = record->row.metadata();
  if (metadata.has_delete_time() && view.HasBindings(name)) return;
  v1::DesiredVirtualMachine& desired = intent->virtual_machines.emplace_back();
  desired.set_name(std::string(name));
  desired.set_uid(metadata.uid());
  desired.set_generation(metadata.generation());
  desired.set_absent(metadata.has_delete_time());
  *desired.mutable_devices() = record->row.spec().placement().devices();
}

void AddPasidBindingIntent(const View& view, absl::string_view name, HostIntent* intent) {
  const std::optional<PasidBindingRecord> record = view.FindPasidBinding(name);
  const VirtualMachineRecord* machine = view.FindVirtualMachine(MachineOf(name));
  if (!record || machine == nullptr || !IsOpen(view, *machine)) return;
  const storage::v1::RowMetadata& metadata = record->row.metadata();
  v1::DesiredBinding& desired = intent->bindings.emplace_back();
  desired.set_name(std::string(name));
  desired.set_uid(metadata.uid());
  desired.set_generation(metadata.generation());
  desired.set_vm_uid(machine->row.metadata().uid());
  desired.set_absent(metadata.has_delete_time());
  if (desired.absent()) return;
  const v1::PasidBindingSpec& spec = record->row.spec();
  desired.set_device(spec.device());
  desired.set_pasid(record->row.effective_pasid());
  *desired.mutable_page_table() = spec.page_table();
  desired.set_vm_instance(spec.vm_instance());
  if (spec.vm_instance().empty()) desired.set_vm_instance(record->row.instance_before_move());
  // Once programmed, a generation belongs to the instance it was programmed for, also after
  // its owner forgot: its root means nothing to another one.
  if (spec.vm_instance().empty() &&
      record->observed.observed_generation() == metadata.generation()) {
    desired.set_vm_instance(record->observed.vm_instance());
  }
  desired.set_allow_translation_gap(spec.allow_translation_gap());
}

void AddIntentOfChange(const View& view, const StateChange& change, HostIntent* intent) {
  if (change.kind == ResourceKind::kVirtualMachine) {
    AddVirtualMachineIntent(view, change.name, intent);
  } else if (change.deleted) {
    // Perhaps the last one that its machine's deletion waited for.
    AddVirtualMachineIntent(view, MachineOf(change.name), intent);
  } else {
    AddPasidBindingIntent(view, change.name, intent);
  }
}

std::string HostLeftBy(const View& view, absl::string_view machine) {
  const DepartureRecord* departure = view.FindDeparture(machine);
  return departure != nullptr ? departure->host : "";
}

std::string HostOfResource(const View& view, absl::string_view name) {
  const VirtualMachineRecord* machine = view.FindVirtualMachine(MachineOf(name));
  return machine != nullptr ? machine->host_id() : "";
}

}  // namespace nestor::server
