#include <google/protobuf/util/field_mask_util.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "api/support/errors.h"
#include "api/support/status_macros.h"
#include "server/core/intent.h"
#include "server/core/intent_draft.h"
#include "server/core/keys.h"

namespace nestor::server {
namespace {

std::string HostIdOf(const v1::VirtualMachineSpec& spec) {
  absl::string_view host = spec.placement().host();
  absl::ConsumePrefix(&host, "hosts/");
  return std::string(host);
}

// The host on which a new machine is placed, which the draft then relies on.
absl::StatusOr<const HostRecord*> HostFor(IntentDraft& draft, const std::string& host) {
  const HostRecord* record = draft.view().FindHost(host);
  if (record == nullptr) return errors::HostUnknown("hosts/" + host);
  if (record->row.spec().cordoned()) return errors::HostCordoned("hosts/" + host);
  draft.RelyOn(keys::Host(host), record->revision);
  return record;
}

bool Has(const v1::VirtualMachineSpec& spec, const std::string& device) {
  const auto& devices = spec.placement().devices();
  return std::find(devices.begin(), devices.end(), device) != devices.end();
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
    draft.RelyOnRange(keys::PasidBindingsOf(machine.name),
                      PrefixEnd(keys::PasidBindingsOf(machine.name)));
    for (const std::string& binding : draft.view().BindingsOf(name)) {
      const bool uses = draft.view().FindPasidBinding(binding)->row.spec().device() == device;
      if (uses && !going_bindings.contains(binding)) return errors::DeviceInUse(device, binding);
    }
    const ClaimRecord claim = draft.view().DeviceClaim(machine.host, device);
    if (claim.holder != name) continue;
    draft.RelyOn(keys::DeviceClaim(machine.host, device), claim.revision);
    draft.Delete(keys::DeviceClaim(machine.host, device));
  }
  return absl::OkStatus();
}

absl::StatusOr<MachineContext> ContextOf(const View& view, const std::string& name,
                                         const v1::VirtualMachineSpec& spec) {
  ASSIGN_OR_RETURN(const VirtualMachineName parsed, VirtualMachineName::Parse(name));
  const std::string host = HostIdOf(spec);
  return MachineContext{parsed, spec, host, view.FindHost(host)};
}

absl::StatusOr<v1::VirtualMachine> DraftCreateMachine(IntentDraft& draft, const UidSource& uids,
                                                      const v1::VirtualMachine& wanted) {
  if (const auto* present = draft.view().FindVirtualMachine(wanted.name())) {
    return present->row.metadata().has_delete_time() ? errors::Deleting(wanted.name())
                                                     : errors::AlreadyExists(wanted.name());
  }
  RETURN_IF_ERROR(HostFor(draft, HostIdOf(wanted.spec())).status());
  ASSIGN_OR_RETURN(const MachineContext machine,
                   ContextOf(draft.view(), wanted.name(), wanted.spec()));
  RETURN_IF_ERROR(MoveDevices(draft, machine, v1::VirtualMachineSpec(), {}));
  VirtualMachineRecord record;
  *record.row.mutable_metadata() = NewRowMetadata(draft, uids(), wanted.metadata());
  *record.row.mutable_spec() = wanted.spec();
  draft.RelyOn(keys::VirtualMachine(machine.name), 0);
  draft.Put(keys::VirtualMachine(machine.name), record.row);
  return RenderVirtualMachine(wanted.name(), record);
}

absl::StatusOr<v1::VirtualMachine> DraftUpdateMachine(IntentDraft& draft,
                                                      const v1::VirtualMachine& wanted,
                                                      const std::set<std::string>& going_bindings,
                                                      bool* changed) {
  const VirtualMachineRecord* stored = draft.view().FindVirtualMachine(wanted.name());
  if (stored->row.metadata().has_delete_time()) return errors::Deleting(wanted.name());
  if (wanted.spec().placement().host() != stored->host()) {
    return errors::FieldInvalid("virtual_machine.spec.placement.host",
                                absl::StrCat("is immutable; it is ", stored->host()));
  }
  ASSIGN_OR_RETURN(const MachineContext machine,
                   ContextOf(draft.view(), wanted.name(), wanted.spec()));
  VirtualMachineRecord record = *stored;
  *changed = UpdateRow(draft, wanted.metadata(), wanted.spec(), &record.row);
  if (!*changed) return RenderVirtualMachine(wanted.name(), record);
  RETURN_IF_ERROR(MoveDevices(draft, machine, stored->row.spec(), going_bindings));
  record.revision = 0;
  draft.RelyOn(keys::VirtualMachine(machine.name), stored->revision);
  draft.Put(keys::VirtualMachine(machine.name), record.row);
  return RenderVirtualMachine(wanted.name(), record);
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
  return merged;
}

}  // namespace

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
  RETURN_IF_ERROR(CheckEtag(wanted.name(), wanted.metadata().etag(), stored->row));
  bool changed = false;
  ASSIGN_OR_RETURN(auto machine, DraftUpdateMachine(draft, Merge(view, request), {}, &changed));
  return std::move(draft).Finish(std::make_shared<v1::VirtualMachine>(std::move(machine)));
}

absl::StatusOr<Decision> DeleteVirtualMachine(const View& view, absl::Time now,
                                              const v1::DeleteVirtualMachineRequest& request) {
  IntentDraft draft(view, now);
  auto reply = std::make_shared<v1::VirtualMachine>();
  const VirtualMachineRecord* stored = view.FindVirtualMachine(request.name());
  if (stored == nullptr && !request.allow_missing()) return errors::NotFound(request.name());
  if (stored == nullptr) return std::move(draft).Finish(std::move(reply));
  RETURN_IF_ERROR(CheckEtag(request.name(), request.etag(), stored->row));
  VirtualMachineRecord record = *stored;
  if (!record.row.metadata().has_delete_time()) {
    const VirtualMachineName name = *VirtualMachineName::Parse(request.name());
    const std::vector<std::string> bindings = view.BindingsOf(request.name());
    if (!bindings.empty() && !request.force()) {
      return errors::HasChildren(request.name(), absl::StrCat(bindings.size(), " bindings"));
    }
    draft.RelyOn(keys::VirtualMachine(name), stored->revision);
    draft.RelyOnRange(keys::PasidBindingsOf(name), PrefixEnd(keys::PasidBindingsOf(name)));
    for (const std::string& binding : bindings) DraftDelete(draft, binding);
    record.revision = 0;
    record.row.mutable_metadata()->set_generation(record.row.metadata().generation() + 1);
    *record.row.mutable_metadata()->mutable_delete_time() = draft.now();
    *record.row.mutable_metadata()->mutable_update_time() = draft.now();
    const std::string host = HostIdOf(record.row.spec());
    if (WasSeen(view.FindHost(host))) {
      draft.Put(keys::VirtualMachine(name), record.row);
    } else {
      draft.RelyOn(keys::Epoch(host), view.Epoch(host).revision);
      DraftPurgeMachine(draft, request.name());
    }
  }
  *reply = RenderVirtualMachine(request.name(), record);
  return std::move(draft).Finish(std::move(reply));
}

absl::StatusOr<Decision> ApplyVirtualMachine(const View& view, absl::Time now,
                                             const UidSource& uids,
                                             const v1::ApplyVirtualMachineRequest& request) {
  IntentDraft draft(view, now);
  auto reply = std::make_shared<v1::ApplyVirtualMachineResponse>();
  const v1::VirtualMachine& wanted = request.virtual_machine();
  const VirtualMachineRecord* stored = view.FindVirtualMachine(wanted.name());
  std::set<std::string> going;
  for (const std::string& name : view.BindingsOf(wanted.name())) going.insert(name);
  for (const v1::PasidBinding& binding : request.pasid_bindings()) going.erase(binding.name());

  auto count = [&](bool changed) {
    changed ? reply->set_updated(reply->updated() + 1)
            : reply->set_unchanged(reply->unchanged() + 1);
  };
  if (stored == nullptr) {
    ASSIGN_OR_RETURN(*reply->mutable_virtual_machine(), DraftCreateMachine(draft, uids, wanted));
    reply->set_created(1);
  } else {
    RETURN_IF_ERROR(CheckEtag(wanted.name(), wanted.metadata().etag(), stored->row));
    bool changed = false;
    ASSIGN_OR_RETURN(*reply->mutable_virtual_machine(),
                     DraftUpdateMachine(draft, wanted, going, &changed));
    draft.RelyOn(keys::VirtualMachine(*VirtualMachineName::Parse(wanted.name())), stored->revision);
    count(changed);
  }
  // What is left out goes, so nothing may come in beside what the view shows.
  const std::string children = keys::PasidBindingsOf(*VirtualMachineName::Parse(wanted.name()));
  draft.RelyOnRange(children, PrefixEnd(children));
  for (const std::string& name : going) {
    if (!view.FindPasidBinding(name)->row.metadata().has_delete_time()) {
      reply->set_deleted(reply->deleted() + 1);
    }
    DraftDelete(draft, name);
  }
  ASSIGN_OR_RETURN(const MachineContext machine, ContextOf(view, wanted.name(), wanted.spec()));
  std::map<std::string, v1::PasidBinding> bindings;
  for (int i = 0; i < request.pasid_bindings_size(); ++i) {
    const v1::PasidBinding& binding = request.pasid_bindings(i);
    const std::string path = absl::StrCat("pasid_bindings[", i, "]");
    bool changed = false;
    const bool is_new = view.FindPasidBinding(binding.name()) == nullptr;
    auto drafted = is_new ? DraftCreate(draft, machine, uids, path, binding)
                          : DraftUpdate(draft, path, binding, &changed);
    if (!drafted.ok()) return Prefixed(path, drafted.status());
    if (is_new) {
      reply->set_created(reply->created() + 1);
    } else {
      count(changed);
    }
    bindings[binding.name()] = *std::move(drafted);
  }
  for (auto& [name, binding] : bindings) *reply->add_pasid_bindings() = std::move(binding);
  if (reply->created() + reply->updated() + reply->deleted() == 0) {
    reply->set_revision(view.head_revision());
  }
  return std::move(draft).Finish(std::move(reply));
}

}  // namespace nestor::server
