#include <utility>

#include "server/core/host_intent.h"
#include "server/core/intent.h"
#include "server/core/intent_draft.h"
#include "server/core/keys.h"

namespace nestor::server {
namespace {

// The name of the machine with that uid that was moved away from the host; empty where there is
// none, or that was placed there again since. Machines of the name may be others by now.
std::string MachineThatLeft(const View& view, const std::string& host, const std::string& uid,
                            int64_t generation) {
  const HostRecord* record = view.FindHost(host);
  if (record == nullptr) return "";
  for (const std::string& name : record->departing) {
    const storage::v1::DepartureRow& departure = view.FindDeparture(name)->row;
    if (departure.uid() == uid && departure.generation() <= generation) return name;
  }
  return "";
}

}  // namespace

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

Decision Purge(const View& view, absl::Time now, const std::string& host,
               const std::vector<std::string>& bindings,
               const std::map<std::string, int64_t>& virtual_machines) {
  IntentDraft draft(view, now);
  std::vector<std::string> binding_names;
  std::vector<std::string> machine_names;
  for (const std::string& uid : bindings) {
    std::string name = view.PasidBindingByUid(uid);
    if (HostOfResource(view, name) == host) binding_names.push_back(std::move(name));
  }
  for (const auto& [uid, generation] : virtual_machines) {
    std::string name = view.VirtualMachineByUid(uid);
    if (HostOfResource(view, name) == host) machine_names.push_back(std::move(name));
    const std::string left = MachineThatLeft(view, host, uid, generation);
    if (!left.empty()) DraftRelease(draft, left);
  }
  DraftPurge(draft, binding_names, machine_names);
  return std::move(draft).Finish(nullptr);
}

}  // namespace nestor::server
