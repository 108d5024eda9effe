// A virtual machine goes to another host.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "api/support/proto_time.h"
#include "api/support/status_macros.h"
#include "server/core/intent_draft.h"
#include "server/core/keys.h"
#include "server/core/timeline.h"

namespace nestor::server {
namespace {

// What the machine and its bindings hold on the host that they leave.
storage::v1::DepartureRow DepartureOf(const View& view, const std::string& name,
                                      const VirtualMachineRecord& machine) {
  storage::v1::DepartureRow row;
  row.set_uid(machine.row.metadata().uid());
  // The one that the move makes: above all that the old host was told.
  row.set_generation(machine.row.metadata().generation() + 1);
  *row.mutable_devices() = machine.row.spec().placement().devices();
  for (const std::string& binding : view.BindingsOf(name)) {
    const PasidBindingRecord record = *view.FindPasidBinding(binding);
    auto& claim = *row.add_pasids();
    claim.set_device(record.row.spec().device());
    claim.set_pasid(record.row.effective_pasid());
    claim.set_holder(binding);
  }
  return row;
}

void ReleaseClaims(IntentDraft& draft, const std::string& host, const std::string& machine,
                   const storage::v1::DepartureRow& row) {
  for (const std::string& device : row.devices()) draft.ReleaseDevice(host, device, machine);
  for (const auto& claim : row.pasids()) {
    draft.ReleasePasid(host, claim.device(), claim.pasid(), claim.holder());
  }
}

// Nothing that was observed on the old host counts on the new one.
void PutReleased(IntentDraft& draft, const std::string& name, const VirtualMachineRecord& machine,
                 const DepartureRecord& departure) {
  storage::v1::VirtualMachineObservedRow row;
  row.set_uid(machine.row.metadata().uid());
  *row.mutable_events() = machine.events;
  AddReleaseEvents(departure, FromTimestamp(draft.now()), row.mutable_events());
  draft.Put(keys::VirtualMachineObserved(*VirtualMachineName::Parse(name)), row);
}

// The instance for which the binding's page table was programmed; empty where it never was.
std::string InstanceOf(const PasidBindingRecord& binding) {
  return binding.IsCurrent() && !binding.observed.vm_instance().empty()
             ? binding.observed.vm_instance()
             : binding.row.instance_before_move();
}

}  // namespace

absl::StatusOr<std::string> DraftMove(IntentDraft& draft, const MachineContext& machine,
                                      const VirtualMachineRecord& stored) {
  const View& view = draft.view();
  const std::string name = machine.name.ToString();
  if (!stored.leaving_host.empty()) return errors::Moving(name, "hosts/" + stored.leaving_host);
  for (const std::string& device : machine.spec.placement().devices()) {
    RETURN_IF_ERROR(CheckDevice(machine, device));
    RETURN_IF_ERROR(draft.ClaimDevice(machine.host, device, name));
  }
  // All that the departure lists, and nothing that comes in meanwhile.
  const std::string bindings = keys::PasidBindingsOf(machine.name);
  draft.RelyOnRange(bindings, PrefixEnd(bindings));
  const std::string left = stored.host_id();
  DepartureRecord departure{left, DepartureOf(view, name, stored), 0};
  *departure.row.mutable_time() = draft.now();
  departure.row.set_to_host("hosts/" + machine.host);
  const std::string key = keys::Departure(left, machine.name);
  draft.RelyOn(key, 0);
  if (MustConfirm(draft, left)) {
    draft.Put(key, departure.row);
    return left;
  }
  ReleaseClaims(draft, left, name, departure.row);
  PutReleased(draft, name, stored, departure);
  return "";
}

absl::StatusOr<v1::PasidBinding> DraftMoveBinding(IntentDraft& draft, const MachineContext& machine,
                                                  const std::string& path,
                                                  const v1::PasidBinding& wanted) {
  const PasidBindingRecord stored = *draft.view().FindPasidBinding(wanted.name());
  if (stored.row.metadata().has_delete_time()) return errors::Deleting(wanted.name());
  const auto& owned = machine.spec.placement().devices();
  const std::string& device = wanted.spec().device();
  if (std::find(owned.begin(), owned.end(), device) == owned.end()) {
    return errors::DeviceNotOwned(device, machine.name.ToString());
  }
  PasidBindingRecord record = stored;
  const bool same_table = SameMessage(wanted.spec().page_table(), stored.row.spec().page_table()) &&
                          wanted.spec().vm_instance() == stored.row.spec().vm_instance();
  record.row.set_instance_before_move(same_table ? InstanceOf(stored) : "");
  ASSIGN_OR_RETURN(const uint32_t pasid, ClaimTarget(draft, machine, path, wanted));
  record.row.set_effective_pasid(pasid);
  storage::v1::RowMetadata& metadata = *record.row.mutable_metadata();
  metadata.set_generation(metadata.generation() + 1);
  *metadata.mutable_update_time() = draft.now();
  *metadata.mutable_labels() = wanted.metadata().labels();
  *record.row.mutable_spec() = wanted.spec();
  record.row.set_placed_generation(metadata.generation());
  record.revision = 0;
  record.observed.Clear();
  const std::string key = keys::PasidBinding(*PasidBindingName::Parse(wanted.name()));
  draft.RelyOn(key, stored.revision);
  draft.Put(key, record.row);
  return RenderPasidBinding(wanted.name(), record);
}

void DraftRelease(IntentDraft& draft, const std::string& machine) {
  const DepartureRecord* departure = draft.view().FindDeparture(machine);
  if (departure == nullptr) return;
  const std::string key = keys::Departure(departure->host, *VirtualMachineName::Parse(machine));
  draft.RelyOn(key, departure->revision);
  draft.Delete(key);
  ReleaseClaims(draft, departure->host, machine, departure->row);
  // It may have been deleted meanwhile.
  const VirtualMachineRecord* stored = draft.view().FindVirtualMachine(machine);
  if (stored == nullptr || stored->row.metadata().uid() != departure->row.uid()) return;
  draft.RelyOn(keys::VirtualMachine(*VirtualMachineName::Parse(machine)), stored->revision);
  PutReleased(draft, machine, *stored, *departure);
}

}  // namespace nestor::server
