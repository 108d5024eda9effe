#include <utility>

#include "server/core/intent.h"
#include "server/core/intent_draft.h"
#include "server/core/keys.h"

namespace nestor::server {

void DraftPurgeBinding(IntentDraft& draft, const std::string& name) {
  const View& view = draft.view();
  const std::optional<PasidBindingRecord> record = view.FindPasidBinding(name);
  if (!record) return;
  const PasidBindingName parsed = *PasidBindingName::Parse(name);
  draft.RelyOn(keys::PasidBinding(parsed), record->revision);
  draft.Delete(keys::PasidBinding(parsed));
  draft.Delete(keys::PasidBindingObserved(parsed));
  const VirtualMachineRecord* machine = view.FindVirtualMachine(parsed.Parent().ToString());
  if (machine == nullptr) return;
  draft.ReleasePasid(machine->host_id(), record->row.spec().device(), record->row.effective_pasid(),
                     name);
}

void DraftPurgeMachine(IntentDraft& draft, const std::string& name) {
  const View& view = draft.view();
  const VirtualMachineRecord* record = view.FindVirtualMachine(name);
  if (record == nullptr) return;
  const VirtualMachineName parsed = *VirtualMachineName::Parse(name);
  draft.RelyOn(keys::VirtualMachine(parsed), record->revision);
  draft.Delete(keys::VirtualMachine(parsed));
  draft.Delete(keys::VirtualMachineObserved(parsed));
  const std::string host = record->host_id();
  for (const std::string& bdf : record->row.spec().placement().devices()) {
    draft.ReleaseDevice(host, bdf, name);
  }
}

void DraftPurge(IntentDraft& draft, const std::vector<std::string>& bindings,
                const std::vector<std::string>& virtual_machines) {
  const View& view = draft.view();
  std::set<std::string> purged;
  for (const std::string& name : bindings) {
    const std::optional<PasidBindingRecord> record = view.FindPasidBinding(name);
    if (!record || !record->row.metadata().has_delete_time()) continue;
    DraftPurgeBinding(draft, name);
    purged.insert(name);
  }
  for (const std::string& name : virtual_machines) {
    const VirtualMachineRecord* record = view.FindVirtualMachine(name);
    if (record == nullptr || !record->row.metadata().has_delete_time()) continue;
    bool has_others = false;
    for (const std::string& binding : view.BindingsOf(name)) {
      has_others = has_others || !purged.contains(binding);
    }
    if (!has_others) DraftPurgeMachine(draft, name);
  }
}

Decision Purge(const View& view, const std::vector<std::string>& bindings,
               const std::vector<std::string>& virtual_machines) {
  std::vector<std::string> binding_names;
  std::vector<std::string> machine_names;
  binding_names.reserve(bindings.size());
  machine_names.reserve(virtual_machines.size());
  for (const auto& uid : bindings) binding_names.push_back(view.PasidBindingByUid(uid));
  for (const auto& uid : virtual_machines) machine_names.push_back(view.VirtualMachineByUid(uid));
  IntentDraft draft(view, absl::InfinitePast());
  DraftPurge(draft, binding_names, machine_names);
  return std::move(draft).Finish(nullptr);
}

}  // namespace nestor::server
