#include <google/protobuf/util/field_mask_util.h>

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "api/support/errors.h"
#include "api/support/status_macros.h"
#include "server/core/host_intent.h"
#include "server/core/intent.h"
#include "server/core/intent_draft.h"
#include "server/core/keys.h"

namespace nestor::server {
namespace {

// PCIe 6.0, 10.5.1: a PASID has up to 20 bits.
constexpr uint32_t kPasidBits = 20;
constexpr uint32_t kMaxPasid = (uint32_t{1} << kPasidBits) - 1;

// The stored machine under which a binding may be created, which the draft then relies on.
absl::StatusOr<MachineContext> MachineFor(IntentDraft& draft, const VirtualMachineName& name) {
  const std::string resource = name.ToString();
  const VirtualMachineRecord* record = draft.view().FindVirtualMachine(resource);
  if (record == nullptr) return errors::NotFound(resource);
  if (record->row.metadata().has_delete_time()) return errors::Deleting(resource);
  draft.RelyOn(keys::VirtualMachine(name), record->revision);
  return ContextOf(draft.view(), name, record->row.spec());
}

// The highest PASID that the device takes, as far as it is known.
uint32_t HighestPasid(const MachineContext& machine, const std::string& bdf) {
  if (!WasSeen(machine.host_record)) return kMaxPasid;
  return (uint32_t{1} << std::min(machine.host_record->devices.at(bdf).pasid_bits(), kPasidBits)) -
         1;
}

}  // namespace

absl::StatusOr<uint32_t> ClaimTarget(IntentDraft& draft, const MachineContext& machine,
                                     const FieldPath& path, const v1::PasidBinding& wanted) {
  const v1::PasidBindingSpec& spec = wanted.spec();
  const std::string& bdf = spec.device();
  uint32_t pasid = 0;
  if (!spec.has_rid()) {
    const uint32_t highest = HighestPasid(machine, bdf);
    if (highest == 0) {
      return errors::DeviceUnsuitable(bdf, "PASID_UNSUPPORTED: it has no PASIDs");
    }
    const uint32_t lowest_wanted = spec.has_pasid() ? spec.pasid() : spec.any_of().first();
    if (lowest_wanted > highest) {
      const FieldPath field(path, spec.has_pasid() ? ".spec.pasid" : ".spec.any_of.first");
      return errors::FieldInvalid(field.ToString(),
                                  absl::StrCat("device ", bdf, " takes PASIDs 1 to ", highest));
    }
    pasid = spec.pasid();
    if (spec.has_any_of()) {
      ASSIGN_OR_RETURN(pasid, draft.PickPasid(machine.host, bdf, spec.any_of().first(),
                                              std::min(spec.any_of().last(), highest)));
    }
  }
  RETURN_IF_ERROR(draft.ClaimPasid(machine.host, bdf, pasid, wanted.name()));
  return pasid;
}

namespace {

// The fields that an update may not change, where the client gave them.
absl::Status CheckImmutable(const std::string& path, const v1::PasidBindingSpec& wanted,
                            const v1::PasidBindingSpec& stored) {
  if (!wanted.device().empty() && wanted.device() != stored.device()) {
    return errors::FieldInvalid(path + ".spec.device",
                                absl::StrCat("is immutable; it is ", stored.device(),
                                             ". Delete the binding and create another"));
  }
  v1::PasidBindingSpec target = stored;
  if (wanted.has_rid()) *target.mutable_rid() = wanted.rid();
  if (wanted.has_pasid()) target.set_pasid(wanted.pasid());
  if (wanted.has_any_of()) *target.mutable_any_of() = wanted.any_of();
  if (SameMessage(target, stored)) return absl::OkStatus();
  return errors::FieldInvalid(path + ".spec.target",
                              "is immutable; delete the binding and create another");
}

void MergeMask(const google::protobuf::FieldMask& mask, const v1::PasidBinding& wanted,
               v1::PasidBinding* current) {
  google::protobuf::FieldMask paths = mask;
  if (paths.paths().empty()) {
    for (const char* path :
         {"metadata.labels", "spec.page_table", "spec.vm_instance", "spec.allow_translation_gap"}) {
      paths.add_paths(path);
    }
  }
  google::protobuf::util::FieldMaskUtil::MergeOptions options;
  options.set_replace_message_fields(true);
  options.set_replace_repeated_fields(true);
  google::protobuf::util::FieldMaskUtil::MergeMessageTo(wanted, paths, options, current);
}

}  // namespace

absl::StatusOr<v1::PasidBinding> DraftCreate(IntentDraft& draft, const MachineContext& machine,
                                             const UidSource& uids, const FieldPath& path,
                                             const v1::PasidBinding& wanted) {
  ASSIGN_OR_RETURN(const PasidBindingName name, PasidBindingName::Parse(wanted.name()));
  if (const auto present = draft.view().FindPasidBinding(wanted.name())) {
    return present->row.metadata().has_delete_time() ? errors::Deleting(wanted.name())
                                                     : errors::AlreadyExists(wanted.name());
  }
  const auto& owned = machine.spec.placement().devices();
  const std::string& bdf = wanted.spec().device();
  if (std::find(owned.begin(), owned.end(), bdf) == owned.end()) {
    return errors::DeviceNotOwned(bdf, machine.name.ToString());
  }
  RETURN_IF_ERROR(CheckTakesNew(draft, machine.host));
  RETURN_IF_ERROR(CheckDevice(machine, bdf));
  PasidBindingRecord record;
  ASSIGN_OR_RETURN(const uint32_t pasid, ClaimTarget(draft, machine, path, wanted));
  record.row.set_effective_pasid(pasid);
  *record.row.mutable_metadata() = NewRowMetadata(draft, uids(), wanted.metadata());
  *record.row.mutable_spec() = wanted.spec();
  std::string key = keys::PasidBinding(name);
  draft.RelyOn(key, 0);
  draft.Put(std::move(key), record.row);
  return RenderPasidBinding(wanted.name(), record);
}

absl::StatusOr<v1::PasidBinding> DraftUpdate(IntentDraft& draft, const std::string& path,
                                             const v1::PasidBinding& wanted, bool* changed) {
  const std::optional<PasidBindingRecord> stored = draft.view().FindPasidBinding(wanted.name());
  if (!stored) return errors::NotFound(wanted.name());
  if (stored->row.metadata().has_delete_time()) return errors::Deleting(wanted.name());
  RETURN_IF_ERROR(CheckImmutable(path, wanted.spec(), stored->row.spec()));
  PasidBindingRecord record = *stored;
  *changed = UpdateRow(draft, wanted.metadata(), wanted.spec(), &record.row);
  const bool new_spec = record.row.metadata().generation() != stored->row.metadata().generation();
  if (new_spec) record.row.clear_instance_before_move();
  if (!*changed) return RenderPasidBinding(wanted.name(), record);
  RETURN_IF_ERROR(CheckNotFenced(draft, HostOfResource(draft.view(), wanted.name())));
  record.revision = 0;
  std::string key = keys::PasidBinding(*PasidBindingName::Parse(wanted.name()));
  draft.RelyOn(key, stored->revision);
  draft.Put(std::move(key), record.row);
  return RenderPasidBinding(wanted.name(), record);
}

v1::PasidBinding DraftDelete(IntentDraft& draft, const std::string& name) {
  PasidBindingRecord record = *draft.view().FindPasidBinding(name);
  if (record.row.metadata().has_delete_time()) return RenderPasidBinding(name, record);
  const PasidBindingName parsed = *PasidBindingName::Parse(name);
  draft.RelyOn(keys::PasidBinding(parsed), record.revision);
  record.revision = 0;
  // The agent tells answers apart by generation, so a deletion is one.
  record.row.mutable_metadata()->set_generation(record.row.metadata().generation() + 1);
  *record.row.mutable_metadata()->mutable_delete_time() = draft.now();
  *record.row.mutable_metadata()->mutable_update_time() = draft.now();
  if (MustConfirm(draft, HostOfResource(draft.view(), name))) {
    draft.Put(keys::PasidBinding(parsed), record.row);
  } else {
    DraftPurgeBinding(draft, name);
  }
  return RenderPasidBinding(name, record);
}

absl::StatusOr<Decision> CreatePasidBinding(const View& view, absl::Time now, const UidSource& uids,
                                            const v1::CreatePasidBindingRequest& request) {
  IntentDraft draft(view, now);
  ASSIGN_OR_RETURN(const PasidBindingName name,
                   PasidBindingName::Parse(request.pasid_binding().name()));
  ASSIGN_OR_RETURN(const MachineContext machine, MachineFor(draft, name.Parent()));
  ASSIGN_OR_RETURN(auto binding,
                   DraftCreate(draft, machine, uids, "pasid_binding", request.pasid_binding()));
  return std::move(draft).Finish(std::make_shared<v1::PasidBinding>(std::move(binding)));
}

absl::StatusOr<Decision> UpdatePasidBinding(const View& view, absl::Time now,
                                            const v1::UpdatePasidBindingRequest& request) {
  IntentDraft draft(view, now);
  const v1::PasidBinding& wanted = request.pasid_binding();
  const std::optional<PasidBindingRecord> stored = view.FindPasidBinding(wanted.name());
  if (!stored) return errors::NotFound(wanted.name());
  RETURN_IF_ERROR(CheckCurrent(wanted.name(), wanted.metadata().etag(), stored->row));
  RETURN_IF_ERROR(CheckImmutable("pasid_binding", wanted.spec(), stored->row.spec()));
  v1::PasidBinding merged = RenderPasidBinding(wanted.name(), *stored);
  MergeMask(request.update_mask(), wanted, &merged);
  bool changed = false;
  ASSIGN_OR_RETURN(auto binding, DraftUpdate(draft, "pasid_binding", merged, &changed));
  return std::move(draft).Finish(std::make_shared<v1::PasidBinding>(std::move(binding)));
}

absl::StatusOr<Decision> DeletePasidBinding(const View& view, absl::Time now,
                                            const v1::DeletePasidBindingRequest& request) {
  IntentDraft draft(view, now);
  auto reply = std::make_shared<v1::PasidBinding>();
  const std::optional<PasidBindingRecord> stored = view.FindPasidBinding(request.name());
  if (!stored && !request.allow_missing()) return errors::NotFound(request.name());
  if (stored) {
    RETURN_IF_ERROR(CheckCurrent(request.name(), request.etag(), stored->row));
    *reply = DraftDelete(draft, request.name());
  }
  return std::move(draft).Finish(std::move(reply));
}

absl::StatusOr<Decision> BatchCreatePasidBindings(
    const View& view, absl::Time now, const UidSource& uids,
    const v1::BatchCreatePasidBindingsRequest& request) {
  IntentDraft draft(view, now);
  auto reply = std::make_shared<v1::BatchCreatePasidBindingsResponse>();
  std::vector<const v1::PasidBinding*> wanted;
  absl::flat_hash_set<absl::string_view> names;
  for (const v1::CreatePasidBindingRequest& one : request.requests()) {
    if (!names.insert(one.pasid_binding().name()).second) {
      return errors::FieldInvalid(absl::StrCat("requests[", wanted.size(), "].pasid_binding.name"),
                                  "is in the batch twice");
    }
    wanted.push_back(&one.pasid_binding());
    reply->add_pasid_bindings();
  }
  std::map<VirtualMachineName, MachineContext> machines;
  for (const int i : DraftOrder(wanted)) {
    const std::string path = absl::StrCat("requests[", i, "]");
    ASSIGN_OR_RETURN(const PasidBindingName name, PasidBindingName::Parse(wanted[i]->name()));
    auto known = machines.find(name.Parent());
    if (known == machines.end()) {
      auto machine = MachineFor(draft, name.Parent());
      if (!machine.ok()) return At(path, machine.status());
      known = machines.emplace(name.Parent(), *std::move(machine)).first;
    }
    auto binding = DraftCreate(draft, known->second, uids, {path, ".pasid_binding"}, *wanted[i]);
    if (!binding.ok()) return At(path, binding.status());
    *reply->mutable_pasid_bindings(i) = *std::move(binding);
  }
  return std::move(draft).Finish(std::move(reply));
}

absl::StatusOr<Decision> BatchDeletePasidBindings(
    const View& view, absl::Time now, const v1::BatchDeletePasidBindingsRequest& request) {
  IntentDraft draft(view, now);
  auto reply = std::make_shared<v1::BatchDeletePasidBindingsResponse>();
  std::set<std::string> names;
  for (int i = 0; i < request.requests_size(); ++i) {
    const std::string path = absl::StrCat("requests[", i, "]");
    const v1::DeletePasidBindingRequest& one = request.requests(i);
    if (!names.insert(one.name()).second) {
      return errors::FieldInvalid(path + ".name", "is in the batch twice");
    }
    const std::optional<PasidBindingRecord> stored = view.FindPasidBinding(one.name());
    if (!stored && one.allow_missing()) continue;
    if (!stored) return At(path, errors::NotFound(one.name()));
    RETURN_IF_ERROR(At(path, CheckCurrent(one.name(), one.etag(), stored->row)));
    *reply->add_pasid_bindings() = DraftDelete(draft, one.name());
  }
  return std::move(draft).Finish(std::move(reply));
}

}  // namespace nestor::server
