#include <utility>

#include "api/support/errors.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "server/core/intent.h"
#include "server/core/intent_draft.h"
#include "server/core/keys.h"

namespace nestor::server {
namespace {

// Puts `drain`, or none, into the host's row. A host that is so already is left alone.
absl::StatusOr<Decision> SetDrain(const View& view, absl::Time now, const std::string& host_name,
                                  const std::string& by, bool drain) {
  IntentDraft draft(view, now);
  ASSIGN_OR_RETURN(const HostName name, HostName::Parse(host_name));
  const HostRecord* stored = view.FindHost(name.host);
  if (stored == nullptr) return errors::NotFound(host_name);
  HostRecord record = *stored;
  if (record.row.has_drain() != drain) {
    record.row.clear_drain();
    if (drain) {
      *record.row.mutable_drain()->mutable_start_time() = draft.now();
      record.row.mutable_drain()->set_requested_by(by);
    }
    record.revision = 0;
    draft.RelyOn(keys::Host(name.host), stored->revision);
    draft.Put(keys::Host(name.host), record.row);
    DraftHostEvent(
        draft, name.host,
        drain ? v1::TimelineEvent::KIND_HOST_DRAINING : v1::TimelineEvent::KIND_HOST_UNDRAINED, 0,
        by);
  }
  return std::move(draft).Finish(std::make_shared<v1::Host>(view.HostResource(name.host, record)));
}

}  // namespace

absl::StatusOr<Decision> DrainHost(const View& view, absl::Time now, const std::string& by,
                                   const v1::DrainHostRequest& request) {
  return SetDrain(view, now, request.name(), by, true);
}

absl::StatusOr<Decision> UndrainHost(const View& view, absl::Time now, const std::string& by,
                                     const v1::UndrainHostRequest& request) {
  return SetDrain(view, now, request.name(), by, false);
}

}  // namespace nestor::server
