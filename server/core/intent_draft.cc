#include "server/core/intent_draft.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "api/support/errors.h"
#include "api/support/proto_time.h"
#include "api/support/status_macros.h"
#include "server/core/keys.h"
#include "server/core/timeline.h"

namespace nestor::server {
namespace {

template <typename Keyed>
bool HaveSameKey(const Keyed& a, const Keyed& b) {
  return a.key == b.key;
}

// What has the same key stays in its order.
template <typename Keyed>
void SortByKey(std::vector<Keyed>& items) {
  std::stable_sort(items.begin(), items.end(),
                   [](const Keyed& a, const Keyed& b) { return a.key < b.key; });
}

}  // namespace

google::protobuf::Timestamp IntentDraft::now() const { return ToTimestamp(now_); }

void IntentDraft::RelyOn(std::string key, int64_t revision) {
  compares_.push_back(Compare::Unchanged(std::move(key), revision));
}

void IntentDraft::RelyOnRange(const std::string& begin, const std::string& end) {
  compares_.push_back(Compare::RangeUnchanged(begin, end, view_.head_revision()));
}

void IntentDraft::Put(std::string key, const google::protobuf::Message& row) {
  changes_.push_back({std::move(key), row.SerializeAsString()});
}

void IntentDraft::Delete(std::string key) { changes_.push_back({std::move(key), std::nullopt}); }

absl::Status IntentDraft::ClaimDevice(const std::string& host, const std::string& bdf,
                                      const std::string& holder) {
  const ClaimRecord claim = view_.DeviceClaim(host, bdf);
  if (!claim.holder.empty()) return errors::DeviceInUse(bdf, claim.holder);
  std::string key = keys::DeviceClaim(host, bdf);
  RelyOn(key, 0);
  storage::v1::ClaimRow row;
  row.set_holder(holder);
  Put(std::move(key), row);
  return absl::OkStatus();
}

absl::Status IntentDraft::ClaimPasid(const std::string& host, const std::string& bdf,
                                     uint32_t pasid, const std::string& holder) {
  PasidIndex& claimed = claimed_[host];
  ClaimRecord claim = claimed.Find(bdf, pasid);
  const bool released = !released_[host].Find(bdf, pasid).holder.empty();
  if (claim.holder.empty() && !released) claim = view_.PasidClaim(host, bdf, pasid);
  if (!claim.holder.empty()) return errors::PasidInUse(bdf, pasid, claim.holder);
  std::string key = keys::PasidClaim(host, bdf, pasid);
  if (!released) RelyOn(key, 0);
  storage::v1::ClaimRow row;
  row.set_holder(holder);
  Put(std::move(key), row);
  claimed.Insert(bdf, pasid, {holder, 0});
  return absl::OkStatus();
}

void IntentDraft::ReleaseDevice(const std::string& host, const std::string& bdf,
                                const std::string& holder) {
  const ClaimRecord claim = view_.DeviceClaim(host, bdf);
  if (claim.holder != holder) return;
  RelyOn(keys::DeviceClaim(host, bdf), claim.revision);
  Delete(keys::DeviceClaim(host, bdf));
}

void IntentDraft::ReleasePasid(const std::string& host, const std::string& bdf, uint32_t pasid,
                               const std::string& holder) {
  const ClaimRecord claim = view_.PasidClaim(host, bdf, pasid);
  if (claim.holder != holder) return;
  RelyOn(keys::PasidClaim(host, bdf, pasid), claim.revision);
  Delete(keys::PasidClaim(host, bdf, pasid));
  released_[host].Insert(bdf, pasid, claim);
  searched_.clear();
}

uint32_t IntentDraft::NextFree(const std::string& host, const std::string& bdf, uint32_t first,
                               bool wait) {
  static const PasidIndex* const kNone = new PasidIndex();
  const HostClaims& claims = view_.ClaimsOf(host);
  while (true) {
    uint32_t next = claims.pasids.NextFree(bdf, first, released_[host]);
    next = claimed_[host].NextFree(bdf, next, *kNone);
    if (wait) next = claims.pasids_on_their_way.NextFree(bdf, next, *kNone);
    if (next == first) return first;
    first = next;
  }
}

absl::StatusOr<uint32_t> IntentDraft::PickPasid(const std::string& host, const std::string& bdf,
                                                uint32_t first, uint32_t last) {
  uint32_t& pasid = searched_.try_emplace({host, first}, first).first->second;
  pasid = NextFree(host, "", pasid, true);
  if (pasid <= last) {
    for (const auto& [other, owner] : view_.ClaimsOf(host).devices) {
      RelyOn(keys::PasidClaim(host, other, pasid), view_.PasidClaim(host, other, pasid).revision);
    }
    return pasid;
  }
  // What is on its way may come to nothing: only what is held makes the range full.
  for (const bool wait : {true, false}) {
    const uint32_t on_device = NextFree(host, bdf, first, wait);
    if (on_device <= last) return on_device;
  }
  return errors::PasidSpaceFull(bdf, first, last);
}

Decision IntentDraft::Finish(std::shared_ptr<google::protobuf::Message> reply) && {
  Decision decision;
  decision.reply = std::move(reply);
  // What changes nothing relies on nothing.
  if (changes_.empty()) return decision;
  Transaction& transaction = decision.transaction;
  // The first reliance on a key stands, and the last change.
  SortByKey(compares_);
  compares_.erase(std::unique(compares_.begin(), compares_.end(), HaveSameKey<Compare>),
                  compares_.end());
  transaction.compares = std::move(compares_);
  SortByKey(changes_);
  for (size_t i = 0; i < changes_.size(); ++i) {
    auto& [key, row] = changes_[i];
    if (i + 1 < changes_.size() && key == changes_[i + 1].key) continue;
    if (row.has_value()) {
      transaction.puts.emplace_back(std::move(key), *std::move(row));
    } else {
      transaction.deletes.push_back(std::move(key));
    }
  }
  return decision;
}

MachineContext ContextOf(const View& view, const VirtualMachineName& name,
                         const v1::VirtualMachineSpec& spec) {
  const absl::string_view host = absl::StripPrefix(spec.placement().host(), "hosts/");
  return {name, spec, std::string(host), view.FindHost(host)};
}

bool WasSeen(const HostRecord* host) {
  return host != nullptr && host->observed.status().state() != v1::HostStatus::STATE_UNSPECIFIED &&
         host->observed.status().state() != v1::HostStatus::STATE_NEVER_SEEN;
}

absl::Status CheckNotFenced(IntentDraft& draft, const std::string& host) {
  const FenceRecord* fence = draft.view().FindFence(host);
  if (fence != nullptr) return errors::HostFenced("hosts/" + host, fence->fence);
  draft.RelyOn(keys::HostFence(host), 0);
  return absl::OkStatus();
}

absl::Status CheckTakesNew(IntentDraft& draft, const std::string& host) {
  RETURN_IF_ERROR(CheckNotFenced(draft, host));
  const HostRecord* record = draft.view().FindHost(host);
  if (record != nullptr && record->row.has_drain()) return errors::HostDraining("hosts/" + host);
  draft.RelyOn(keys::Host(host), record != nullptr ? record->revision : 0);
  return absl::OkStatus();
}

bool MustConfirm(IntentDraft& draft, const std::string& host) {
  const View& view = draft.view();
  const FenceRecord* fence = view.FindFence(host);
  draft.RelyOn(keys::HostFence(host), fence != nullptr ? fence->revision : 0);
  if (fence != nullptr) return false;
  if (WasSeen(view.FindHost(host))) return true;
  // An agent that says Hello meanwhile makes this a stale view.
  draft.RelyOn(keys::Epoch(host), view.Epoch(host).revision);
  return false;
}

void DraftHostEvent(IntentDraft& draft, const std::string& host, v1::TimelineEvent::Kind kind,
                    int64_t epoch, const std::string& message) {
  const View& view = draft.view();
  // Sessions add events, too; each takes an epoch.
  draft.RelyOn(keys::Epoch(host), view.Epoch(host).revision);
  storage::v1::HostEventsRow row;
  if (const HostRecord* record = view.FindHost(host)) *row.mutable_events() = record->events;
  AddHostEvent(kind, {FromTimestamp(draft.now()), epoch}, row.mutable_events(), message);
  draft.Put(keys::HostEvents(host), row);
}

absl::Status CheckDevice(const MachineContext& machine, const std::string& bdf) {
  if (!WasSeen(machine.host_record)) return absl::OkStatus();
  auto it = machine.host_record->devices.find(bdf);
  if (it == machine.host_record->devices.end()) {
    return errors::DeviceUnsuitable(
        bdf, absl::StrCat("hosts/", machine.host, " has no such device bound to vfio-pci"));
  }
  const v1::DeviceStatus& status = it->second;
  if (status.nest_granularity() == v1::NEST_GRANULARITY_NONE ||
      status.nest_granularity() == v1::NEST_GRANULARITY_UNSPECIFIED) {
    return errors::DeviceUnsuitable(bdf, absl::StrCat(status.reason(), ": ", status.message()));
  }
  return absl::OkStatus();
}

storage::v1::RowMetadata NewRowMetadata(const IntentDraft& draft, const std::string& uid,
                                        const v1::Metadata& wanted) {
  storage::v1::RowMetadata metadata;
  metadata.set_schema(1);
  metadata.set_uid(uid);
  metadata.set_generation(1);
  *metadata.mutable_create_time() = draft.now();
  *metadata.mutable_update_time() = draft.now();
  *metadata.mutable_labels() = wanted.labels();
  return metadata;
}

absl::Status CheckCurrent(const std::string& name, const std::string& etag,
                          const google::protobuf::Message& row) {
  const std::string current = Etag(row);
  return etag.empty() || etag == current ? absl::OkStatus() : errors::EtagMismatch(name, current);
}

absl::Status At(const std::string& path, const absl::Status& status) {
  if (status.ok() || absl::StartsWith(status.message(), path)) return status;
  absl::Status result(status.code(), absl::StrCat(path, ": ", status.message()));
  status.ForEachPayload(
      [&](absl::string_view type, const absl::Cord& payload) { result.SetPayload(type, payload); });
  return result;
}

std::vector<int> DraftOrder(const std::vector<const v1::PasidBinding*>& bindings) {
  std::vector<int> order(bindings.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_partition(order.begin(), order.end(),
                        [&](int i) { return !bindings[i]->spec().has_any_of(); });
  return order;
}

bool SameMessage(const google::protobuf::Message& a, const google::protobuf::Message& b) {
  return google::protobuf::util::MessageDifferencer::Equals(a, b);
}

bool SameLabels(const v1::Metadata& wanted, const storage::v1::RowMetadata& row) {
  return std::map<std::string, std::string>(wanted.labels().begin(), wanted.labels().end()) ==
         std::map<std::string, std::string>(row.labels().begin(), row.labels().end());
}

}  // namespace nestor::server
