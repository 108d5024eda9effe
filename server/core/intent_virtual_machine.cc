#include <google/protobuf/util/field_mask_util.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "api/support/status_macros.h"
#include "server/core/intent.h"
#include "server/core/intent_draft.h"
#include "server/core/keys.h"

namespace nestor::server {
namespace {

// A new machine may be placed there; the draft then relies on it.
absl::Status CheckHost(IntentDraft& draft, const MachineContext& machine) {
  const std::string name = "hosts/" + machine.host;
  if (machine.host_record == nullptr) return errors::HostUnknown(name);
  if (machine.host_record->row.spec().cordoned()) return errors::HostCordoned(name);
  return CheckTakesNew(draft, machine.host);
}

bool Has(const v1::VirtualMachineSpec& spec, const std::string& device) {
  const auto& devices = spec.placement().devices();
  return std::find(devices.begin(), devices.end(), device) != devices.end();
}

// DEVICE_IN_USE while a binding that stays uses the device.
absl::Status CheckUnused(IntentDraft& draft, const MachineContext& machine,
                         const std::string& device, const std::set<std::string>& going_bindings) {
  const std::string bindings = keys::PasidBindingsOf(machine.name);
  draft.RelyOnRange(bindings, PrefixEnd(bindings));
  for (const std::string& binding : draft.view().BindingsOf(machine.name.ToString())) {
    const bool uses = draft.view().FindPasidBinding(binding)->row.spec().device() == device;
    if (uses && !going_bindings.contains(binding)) return errors::DeviceInUse(device, binding);
  }
  return absl::OkStatus();
}

// Claims the devices that are new and gives up those that are gone, if nothing uses them.
absl::Status MoveDevices(IntentDraft& draft, const MachineContext& machine,
                         const v1::VirtualMachineSpec& before,
                         const std::set<std::string>& going_bindings) {
  const std::string name = machine.name.ToString();
  for (const std::string& device : machine.spec.placement().devices()) {
    if (Has(before, device)) continue;
    RETURN_IF_ERROR(CheckDevice(machine, device));
    RETURN_IF_ERROR(draft.ClaimDevice(machine.host, device, name));
  }
  for (const std::string& device : before.placement().devices()) {
    if (Has(machine.spec, device)) continue;
    RETURN_IF_ERROR(CheckUnused(draft, machine, device, going_bindings));
    draft.ReleaseDevice(machine.host, device, name);
  }
  return absl::OkStatus();
}

// What is stored with the masked fields of `wanted`.
v1::VirtualMachine Merge(const View& view, const v1::UpdateVirtualMachineRequest& request) {
  const v1::VirtualMachine& wanted = request.virtual_machine();
  google::protobuf::FieldMask mask = request.update_mask();
  if (mask.paths().empty()) {
    mask.add_paths("metadata.labels");
    mask.add_paths("spec");
  }
  v1::VirtualMachine merged =
      RenderVirtualMachine(wanted.name(), *view.FindVirtualMachine(wanted.name()));
  google::protobuf::util::FieldMaskUtil::MergeOptions options;
  options.set_replace_message_fields(true);
  options.set_replace_repeated_fields(true);
  google::protobuf::util::FieldMaskUtil::MergeMessageTo(wanted, mask, options, &merged);
  // Leaving the host out means no change.
  v1::Placement& placement = *merged.mutable_spec()->mutable_placement();
  if (placement.host().empty()) {
    placement.set_host(view.FindVirtualMachine(wanted.name())->host());
  }
  return merged;
}

// Its bindings go with it as they are.
absl::Status DraftMoveBindings(IntentDraft& draft, const v1::VirtualMachine& moved) {
  ASSIGN_OR_RETURN(const VirtualMachineName name, VirtualMachineName::Parse(moved.name()));
  const MachineContext machine = ContextOf(draft.view(), name, moved.spec());
  std::vector<v1::PasidBinding> bindings;
  for (const std::string& binding : draft.view().BindingsOf(moved.name())) {
    const PasidBindingRecord record = *draft.view().FindPasidBinding(binding);
    if (record.row.metadata().has_delete_time()) continue;
    bindings.push_back(RenderPasidBinding(binding, record));
  }
  std::vector<const v1::PasidBinding*> wanted;
  wanted.reserve(bindings.size());
  for (const v1::PasidBinding& binding : bindings) wanted.push_back(&binding);
  for (const int i : DraftOrder(wanted)) {
    auto binding = DraftMoveBinding(draft, machine, bindings[i].name(), bindings[i]);
    if (!binding.ok()) return At(bindings[i].name(), binding.status());
  }
  return absl::OkStatus();
}

// Marks it as being deleted; where no host must confirm that, it is gone at once.
v1::VirtualMachine DraftDeleteMachine(IntentDraft& draft, const std::string& name) {
  VirtualMachineRecord record = *draft.view().FindVirtualMachine(name);
  const VirtualMachineName parsed = *VirtualMachineName::Parse(name);
  draft.RelyOn(keys::VirtualMachine(parsed), record.revision);
  record.revision = 0;
  storage::v1::RowMetadata& metadata = *record.row.mutable_metadata();
  metadata.set_generation(metadata.generation() + 1);
  *metadata.mutable_delete_time() = draft.now();
  *metadata.mutable_update_time() = draft.now();
  if (MustConfirm(draft, record.host_id())) {
    draft.Put(keys::VirtualMachine(parsed), record.row);
  } else {
    DraftPurgeMachine(draft, name);
  }
  return RenderVirtualMachine(name, record);
}

}  // namespace

absl::StatusOr<v1::VirtualMachine> DraftCreateMachine(IntentDraft& draft, const UidSource& uids,
                                                      const v1::VirtualMachine& wanted) {
  if (const auto* present = draft.view().FindVirtualMachine(wanted.name())) {
    return present->row.metadata().has_delete_time() ? errors::Deleting(wanted.name())
                                                     : errors::AlreadyExists(wanted.name());
  }
  ASSIGN_OR_RETURN(const VirtualMachineName name, VirtualMachineName::Parse(wanted.name()));
  const MachineContext machine = ContextOf(draft.view(), name, wanted.spec());
  RETURN_IF_ERROR(CheckHost(draft, machine));
  RETURN_IF_ERROR(MoveDevices(draft, machine, v1::VirtualMachineSpec(), {}));
  VirtualMachineRecord record;
  *record.row.mutable_metadata() = NewRowMetadata(draft, uids(), wanted.metadata());
  *record.row.mutable_spec() = wanted.spec();
  draft.RelyOn(keys::VirtualMachine(name), 0);
  draft.Put(keys::VirtualMachine(name), record.row);
  return RenderVirtualMachine(wanted.name(), record);
}

absl::StatusOr<v1::VirtualMachine> DraftUpdateMachine(IntentDraft& draft,
                                                      const v1::VirtualMachine& wanted,
                                                      const std::set<std::string>& going_bindings,
                                                      bool* changed) {
  const VirtualMachineRecord* stored = draft.view().FindVirtualMachine(wanted.name());
  if (stored->row.metadata().has_delete_time()) return errors::Deleting(wanted.name());
  ASSIGN_OR_RETURN(const VirtualMachineName name, VirtualMachineName::Parse(wanted.name()));
  const MachineContext machine = ContextOf(draft.view(), name, wanted.spec());
  VirtualMachineRecord record = *stored;
  *changed = UpdateRow(draft, wanted.metadata(), wanted.spec(), &record.row);
  if (!*changed) return RenderVirtualMachine(wanted.name(), record);
  if (IsMove(draft.view(), wanted)) {
    RETURN_IF_ERROR(CheckHost(draft, machine));
    ASSIGN_OR_RETURN(record.leaving_host, DraftMove(draft, machine, *stored));
    record.observed.Clear();
  } else {
    RETURN_IF_ERROR(CheckNotFenced(draft, machine.host));
    RETURN_IF_ERROR(MoveDevices(draft, machine, stored->row.spec(), going_bindings));
  }
  record.revision = 0;
  draft.RelyOn(keys::VirtualMachine(name), stored->revision);
  draft.Put(keys::VirtualMachine(name), record.row);
  return RenderVirtualMachine(wanted.name(), record);
}

bool IsMove(const View& view, const v1::VirtualMachine& wanted) {
  const VirtualMachineRecord* stored = view.FindVirtualMachine(wanted.name());
  return stored != nullptr && wanted.spec().placement().host() != stored->host();
}

absl::StatusOr<Decision> CreateVirtualMachine(const View& view, absl::Time now,
                                              const UidSource& uids,
                                              const v1::CreateVirtualMachineRequest& request) {
  IntentDraft draft(view, now);
  ASSIGN_OR_RETURN(auto machine, DraftCreateMachine(draft, uids, request.virtual_machine()));
  return std::move(draft).Finish(std::make_shared<v1::VirtualMachine>(std::move(machine)));
}

absl::StatusOr<Decision> UpdateVirtualMachine(const View& view, absl::Time now,
                                              const v1::UpdateVirtualMachineRequest& request) {
  IntentDraft draft(view, now);
  const v1::VirtualMachine& wanted = request.virtual_machine();
  const VirtualMachineRecord* stored = view.FindVirtualMachine(wanted.name());
  if (stored == nullptr) return errors::NotFound(wanted.name());
  RETURN_IF_ERROR(CheckCurrent(wanted.name(), wanted.metadata().etag(), stored->row));
  bool changed = false;
  const v1::VirtualMachine merged = Merge(view, request);
  ASSIGN_OR_RETURN(auto machine, DraftUpdateMachine(draft, merged, {}, &changed));
  if (IsMove(view, merged)) RETURN_IF_ERROR(DraftMoveBindings(draft, merged));
  return std::move(draft).Finish(std::make_shared<v1::VirtualMachine>(std::move(machine)));
}

absl::StatusOr<Decision> DeleteVirtualMachine(const View& view, absl::Time now,
                                              const v1::DeleteVirtualMachineRequest& request) {
  IntentDraft draft(view, now);
  auto reply = std::make_shared<v1::VirtualMachine>();
  const VirtualMachineRecord* stored = view.FindVirtualMachine(request.name());
  if (stored == nullptr && !request.allow_missing()) return errors::NotFound(request.name());
  if (stored == nullptr) return std::move(draft).Finish(std::move(reply));
  RETURN_IF_ERROR(CheckCurrent(request.name(), request.etag(), stored->row));
  if (stored->row.metadata().has_delete_time()) {
    *reply = RenderVirtualMachine(request.name(), *stored);
    return std::move(draft).Finish(std::move(reply));
  }
  const std::vector<std::string> bindings = view.BindingsOf(request.name());
  const auto staying = std::count_if(bindings.begin(), bindings.end(), [&](const auto& name) {
    return !view.FindPasidBinding(name)->row.metadata().has_delete_time();
  });
  if (staying > 0 && !request.force()) {
    return errors::HasChildren(request.name(), absl::StrCat(staying, " bindings"));
  }
  // No binding may come in meanwhile.
  const std::string children = keys::PasidBindingsOf(*VirtualMachineName::Parse(request.name()));
  draft.RelyOnRange(children, PrefixEnd(children));
  for (const std::string& binding : bindings) DraftDelete(draft, binding);
  *reply = DraftDeleteMachine(draft, request.name());
  return std::move(draft).Finish(std::move(reply));
}

}  // namespace nestor::server
