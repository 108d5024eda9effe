#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "api/support/status_macros.h"
#include "server/core/intent.h"
#include "server/core/intent_draft.h"
#include "server/core/keys.h"

namespace nestor::server {
namespace {

bool IsDeleting(const View& view, const std::string& binding) {
  return view.FindPasidBinding(binding)->row.metadata().has_delete_time();
}

// What waits for deletion on the host, or for leave from there: nobody will confirm it, and the
// fence stands for that.
void DraftPurgeOfHost(IntentDraft& draft, const HostRecord& host) {
  const View& view = draft.view();
  std::vector<std::string> bindings;
  std::vector<std::string> machines;
  const auto is_full = [&] { return bindings.size() + machines.size() >= kPurgedAtOnce; };
  for (const std::string& machine : host.virtual_machines) {
    const BindingCounts* counts = view.pasid_bindings().CountsOf(machine);
    if (counts != nullptr && (*counts)[v1::PasidBindingStatus::STATE_DELETING] > 0) {
      for (const std::string& binding : view.BindingsOf(machine)) {
        if (is_full()) break;
        if (IsDeleting(view, binding)) bindings.push_back(binding);
      }
    }
    if (is_full()) break;
    if (view.FindVirtualMachine(machine)->row.metadata().has_delete_time()) {
      machines.push_back(machine);
    }
  }
  DraftPurge(draft, bindings, machines);
  size_t released = 0;
  for (const std::string& machine : host.departing) {
    if (is_full() || released >= kPurgedAtOnce) break;
    released += 1 + view.FindDeparture(machine)->row.pasids_size();
    DraftRelease(draft, machine);
  }
}

// No session before this one counts any more, and none has this epoch.
int64_t DraftNextEpoch(IntentDraft& draft, const std::string& host) {
  const EpochRecord before = draft.view().Epoch(host);
  storage::v1::EpochRow row;
  row.set_epoch(before.epoch + 1);
  draft.RelyOn(keys::Epoch(host), before.revision);
  draft.Put(keys::Epoch(host), row);
  return row.epoch();
}

v1::HostFence DraftFence(IntentDraft& draft, const std::string& host, bool is_connected,
                         const std::string& by, const std::string& evidence) {
  storage::v1::HostFenceRow row;
  v1::HostFence& fence = *row.mutable_fence();
  *fence.mutable_time() = draft.now();
  fence.set_declared_by(by);
  fence.set_evidence(evidence);
  fence.set_epoch(DraftNextEpoch(draft, host));
  fence.set_forced(is_connected);
  draft.RelyOn(keys::HostFence(host), 0);
  draft.Put(keys::HostFence(host), row);
  DraftHostEvent(draft, host, v1::TimelineEvent::KIND_HOST_FENCED, fence.epoch(),
                 absl::StrCat(by, ": ", evidence));
  return fence;
}

}  // namespace

absl::StatusOr<Decision> FenceHost(const View& view, absl::Time now, const std::string& by,
                                   const v1::FenceHostRequest& request) {
  IntentDraft draft(view, now);
  ASSIGN_OR_RETURN(const HostName name, HostName::Parse(request.name()));
  const HostRecord* stored = view.FindHost(name.host);
  if (stored == nullptr) return errors::NotFound(request.name());
  HostRecord record = *stored;
  if (!stored->fence) {
    const bool is_connected = stored->observed.status().state() == v1::HostStatus::STATE_CONNECTED;
    if (is_connected && !request.force()) {
      return errors::HostConnected(request.name(),
                                   "it is not dead. Where it is cut off by other means, and its "
                                   "guests are known to be gone, use force");
    }
    record.fence =
        FenceRecord{DraftFence(draft, name.host, is_connected, by, request.evidence()), 0};
  } else {
    draft.RelyOn(keys::HostFence(name.host), stored->fence->revision);
  }
  draft.RelyOn(keys::Host(name.host), stored->revision);
  DraftPurgeOfHost(draft, *stored);
  return std::move(draft).Finish(std::make_shared<v1::Host>(view.HostResource(name.host, record)));
}

absl::StatusOr<Decision> PurgeFencedHost(const View& view, absl::Time now,
                                         const std::string& host) {
  IntentDraft draft(view, now);
  const HostRecord* stored = view.FindHost(host);
  if (stored == nullptr) return errors::NotFound("hosts/" + host);
  if (stored->fence) {
    draft.RelyOn(keys::HostFence(host), stored->fence->revision);
    DraftPurgeOfHost(draft, *stored);
  }
  return std::move(draft).Finish(std::make_shared<v1::Host>(view.HostResource(host, *stored)));
}

}  // namespace nestor::server
