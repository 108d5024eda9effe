#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/status_macros.h"
#include "server/core/intent.h"
#include "server/core/intent_draft.h"
#include "server/core/keys.h"

namespace nestor::server {
namespace {

// The parts of one ApplyVirtualMachine; each counts what it does in the reply.
class Application {
 public:
  Application(IntentDraft& draft, const UidSource& uids,
              const v1::ApplyVirtualMachineRequest& request)
      : draft_(draft), uids_(uids), request_(request) {}

  absl::StatusOr<v1::ApplyVirtualMachineResponse> Run() {
    ASSIGN_OR_RETURN(name_, VirtualMachineName::Parse(request_.virtual_machine().name()));
    const std::set<std::string> going = LeftOut();
    RETURN_IF_ERROR(ApplyMachine(going));
    // What is left out goes, so nothing may come in beside what the view shows.
    const std::string children = keys::PasidBindingsOf(name_);
    draft_.RelyOnRange(children, PrefixEnd(children));
    for (const std::string& binding : going) Delete(binding);
    RETURN_IF_ERROR(ApplyBindings());
    return std::move(reply_);
  }

 private:
  // The machine's bindings that the request does not name.
  std::set<std::string> LeftOut() const {
    std::set<std::string> names;
    for (std::string& name : draft_.view().BindingsOf(request_.virtual_machine().name())) {
      names.insert(std::move(name));
    }
    for (const v1::PasidBinding& binding : request_.pasid_bindings()) names.erase(binding.name());
    return names;
  }

  absl::Status ApplyMachine(const std::set<std::string>& going) {
    const v1::VirtualMachine& wanted = request_.virtual_machine();
    const VirtualMachineRecord* stored = draft_.view().FindVirtualMachine(wanted.name());
    if (stored == nullptr) {
      reply_.set_created(reply_.created() + 1);
      ASSIGN_OR_RETURN(*reply_.mutable_virtual_machine(),
                       DraftCreateMachine(draft_, uids_, wanted));
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(CheckCurrent(wanted.name(), wanted.metadata().etag(), stored->row));
    bool changed = false;
    ASSIGN_OR_RETURN(*reply_.mutable_virtual_machine(),
                     DraftUpdateMachine(draft_, wanted, going, &changed));
    // Also for the bindings that are created under it.
    draft_.RelyOn(keys::VirtualMachine(name_), stored->revision);
    Count(changed);
    return absl::OkStatus();
  }

  void Delete(const std::string& binding) {
    if (!draft_.view().FindPasidBinding(binding)->row.metadata().has_delete_time()) {
      reply_.set_deleted(reply_.deleted() + 1);
    }
    DraftDelete(draft_, binding);
  }

  absl::Status ApplyBindings() {
    const MachineContext machine =
        ContextOf(draft_.view(), name_, request_.virtual_machine().spec());
    std::vector<const v1::PasidBinding*> wanted;
    for (const v1::PasidBinding& binding : request_.pasid_bindings()) wanted.push_back(&binding);
    std::map<std::string, v1::PasidBinding> by_name;
    for (const int i : DraftOrder(wanted)) {
      auto binding = ApplyBinding(machine, absl::StrCat("pasid_bindings[", i, "]"), *wanted[i]);
      if (!binding.ok()) return binding.status();
      by_name[wanted[i]->name()] = *std::move(binding);
    }
    for (auto& [name, binding] : by_name) *reply_.add_pasid_bindings() = std::move(binding);
    return absl::OkStatus();
  }

  absl::StatusOr<v1::PasidBinding> ApplyBinding(const MachineContext& machine,
                                                const std::string& path,
                                                const v1::PasidBinding& wanted) {
    const std::optional<PasidBindingRecord> stored = draft_.view().FindPasidBinding(wanted.name());
    if (!stored) {
      auto created = DraftCreate(draft_, machine, uids_, path, wanted);
      if (!created.ok()) return At(path, created.status());
      reply_.set_created(reply_.created() + 1);
      return created;
    }
    RETURN_IF_ERROR(At(path, CheckCurrent(wanted.name(), wanted.metadata().etag(), stored->row)));
    const bool moved = IsMove(draft_.view(), request_.virtual_machine());
    bool changed = moved;
    auto updated = moved ? DraftMoveBinding(draft_, machine, path, wanted)
                         : DraftUpdate(draft_, path, wanted, &changed);
    if (!updated.ok()) return At(path, updated.status());
    Count(changed);
    return updated;
  }

  void Count(bool changed) {
    if (changed) {
      reply_.set_updated(reply_.updated() + 1);
    } else {
      reply_.set_unchanged(reply_.unchanged() + 1);
    }
  }

  IntentDraft& draft_;
  const UidSource& uids_;
  const v1::ApplyVirtualMachineRequest& request_;
  VirtualMachineName name_;
  v1::ApplyVirtualMachineResponse reply_;
};

}  // namespace

absl::StatusOr<Decision> ApplyVirtualMachine(const View& view, absl::Time now,
                                             const UidSource& uids,
                                             const v1::ApplyVirtualMachineRequest& request) {
  IntentDraft draft(view, now);
  ASSIGN_OR_RETURN(auto response, Application(draft, uids, request).Run());
  auto reply = std::make_shared<v1::ApplyVirtualMachineResponse>(std::move(response));
  Decision decision = std::move(draft).Finish(reply);
  if (decision.changes_nothing()) reply->set_revision(view.head_revision());
  return decision;
}

}  // namespace nestor::server
