#include <google/protobuf/empty.pb.h>
#include <google/protobuf/util/field_mask_util.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "api/support/status_macros.h"
#include "server/core/intent.h"
#include "server/core/intent_draft.h"
#include "server/core/keys.h"

namespace nestor::server {

absl::StatusOr<Decision> CreateHost(const View& view, absl::Time now, const UidSource& uids,
                                    const v1::CreateHostRequest& request) {
  IntentDraft draft(view, now);
  ASSIGN_OR_RETURN(const HostName name, HostName::Parse(request.host().name()));
  if (view.FindHost(name.host) != nullptr) return errors::AlreadyExists(request.host().name());
  HostRecord record;
  *record.row.mutable_metadata() = NewRowMetadata(draft, uids(), request.host().metadata());
  *record.row.mutable_spec() = request.host().spec();
  draft.RelyOn(keys::Host(name.host), 0);
  draft.Put(keys::Host(name.host), record.row);
  return std::move(draft).Finish(std::make_shared<v1::Host>(view.HostResource(name.host, record)));
}

absl::StatusOr<Decision> UpdateHost(const View& view, absl::Time now,
                                    const v1::UpdateHostRequest& request) {
  IntentDraft draft(view, now);
  ASSIGN_OR_RETURN(const HostName name, HostName::Parse(request.host().name()));
  const HostRecord* stored = view.FindHost(name.host);
  if (stored == nullptr) return errors::NotFound(request.host().name());
  RETURN_IF_ERROR(
      CheckCurrent(request.host().name(), request.host().metadata().etag(), stored->row));
  google::protobuf::FieldMask mask = request.update_mask();
  if (mask.paths().empty()) {
    mask.add_paths("metadata.labels");
    mask.add_paths("spec");
  }
  v1::Host merged = view.HostResource(name.host, *stored);
  google::protobuf::util::FieldMaskUtil::MergeOptions options;
  options.set_replace_message_fields(true);
  options.set_replace_repeated_fields(true);
  google::protobuf::util::FieldMaskUtil::MergeMessageTo(request.host(), mask, options, &merged);
  HostRecord record = *stored;
  if (UpdateRow(draft, merged.metadata(), merged.spec(), &record.row)) {
    record.revision = 0;
    draft.RelyOn(keys::Host(name.host), stored->revision);
    draft.Put(keys::Host(name.host), record.row);
  }
  return std::move(draft).Finish(std::make_shared<v1::Host>(view.HostResource(name.host, record)));
}

absl::StatusOr<Decision> DeleteHost(const View& view, const v1::DeleteHostRequest& request) {
  IntentDraft draft(view, absl::InfinitePast());
  auto reply = std::make_shared<google::protobuf::Empty>();
  ASSIGN_OR_RETURN(const HostName name, HostName::Parse(request.name()));
  const HostRecord* stored = view.FindHost(name.host);
  if (stored == nullptr && !request.allow_missing()) return errors::NotFound(request.name());
  if (stored == nullptr) return std::move(draft).Finish(std::move(reply));
  RETURN_IF_ERROR(CheckCurrent(request.name(), request.etag(), stored->row));
  if (!stored->virtual_machines.empty()) {
    return errors::HasChildren(request.name(),
                               absl::StrCat(stored->virtual_machines.size(), " virtual machines"));
  }
  if (!stored->departing.empty()) {
    return errors::HasChildren(
        request.name(), absl::StrCat(stored->departing.size(), " virtual machines that leave it"));
  }
  if (stored->observed.status().state() == v1::HostStatus::STATE_CONNECTED) {
    return errors::HostConnected(request.name(), "stop the agent first");
  }
  // No machine may be placed, and no agent connect, meanwhile.
  draft.RelyOnRange("v/", PrefixEnd("v/"));
  const std::string departures = keys::DeparturesFrom(name.host);
  draft.RelyOnRange(departures, PrefixEnd(departures));
  draft.RelyOn(keys::Host(name.host), stored->revision);
  draft.RelyOn(keys::Epoch(name.host), view.Epoch(name.host).revision);
  draft.Delete(keys::Host(name.host));
  draft.Delete(keys::HostObserved(name.host));
  draft.Delete(keys::HostEvents(name.host));
  for (const auto& [bdf, status] : stored->devices) {
    draft.Delete(keys::DeviceObserved(name.host, bdf));
  }
  return std::move(draft).Finish(std::move(reply));
}

}  // namespace nestor::server
