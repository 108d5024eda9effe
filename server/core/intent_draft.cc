#include "server/core/intent_draft.h"

#include <google/protobuf/util/message_differencer.h>
#include <google/protobuf/util/time_util.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "server/core/keys.h"

namespace nestor::server {

google::protobuf::Timestamp IntentDraft::now() const {
  return google::protobuf::util::TimeUtil::NanosecondsToTimestamp(absl::ToUnixNanos(now_));
}

void IntentDraft::RelyOn(const std::string& key, int64_t revision) {
  compares_.try_emplace(key, Compare::Unchanged(key, revision));
}

void IntentDraft::RelyOnRange(const std::string& begin, const std::string& end) {
  compares_.try_emplace(begin, Compare::RangeUnchanged(begin, end, view_.head_revision()));
}

void IntentDraft::Put(const std::string& key, const google::protobuf::Message& row) {
  deletes_.erase(key);
  puts_[key] = row.SerializeAsString();
}

void IntentDraft::Delete(const std::string& key) {
  puts_.erase(key);
  deletes_.insert(key);
}

absl::Status IntentDraft::ClaimDevice(const std::string& host, const std::string& bdf,
                                      const std::string& holder) {
  const ClaimRecord claim = view_.DeviceClaim(host, bdf);
  if (!claim.holder.empty()) return errors::DeviceInUse(bdf, claim.holder);
  const std::string key = keys::DeviceClaim(host, bdf);
  RelyOn(key, 0);
  storage::v1::ClaimRow row;
  row.set_holder(holder);
  Put(key, row);
  return absl::OkStatus();
}

absl::Status IntentDraft::ClaimPasid(const std::string& host, const std::string& bdf,
                                     uint32_t pasid, const std::string& holder) {
  const std::string key = keys::PasidClaim(host, bdf, pasid);
  if (auto it = claimed_.find(key); it != claimed_.end()) {
    return errors::PasidInUse(bdf, pasid, it->second);
  }
  const ClaimRecord claim = view_.PasidClaim(host, bdf, pasid);
  if (!claim.holder.empty()) return errors::PasidInUse(bdf, pasid, claim.holder);
  RelyOn(key, 0);
  storage::v1::ClaimRow row;
  row.set_holder(holder);
  Put(key, row);
  claimed_[key] = holder;
  ClaimedPasids(host, "").insert(pasid);
  ClaimedPasids(host, bdf).insert(pasid);
  return absl::OkStatus();
}

std::set<uint32_t>& IntentDraft::ClaimedPasids(const std::string& host, const std::string& bdf) {
  const auto [it, is_new] = claimed_pasids_.try_emplace(absl::StrCat(host, "/", bdf));
  if (is_new) it->second = view_.ClaimedPasids(host, bdf);
  return it->second;
}

absl::StatusOr<uint32_t> IntentDraft::PickPasid(const std::string& host, const std::string& bdf,
                                                const v1::PasidRange& range) {
  for (const std::string& scope : {std::string(), bdf}) {
    const std::set<uint32_t>& claimed = ClaimedPasids(host, scope);
    uint32_t candidate = range.first();
    // The claimed ones are in order, so the first gap is the lowest free PASID.
    for (auto it = claimed.lower_bound(candidate); it != claimed.end() && *it == candidate; ++it) {
      ++candidate;
    }
    if (candidate <= range.last()) return candidate;
  }
  return errors::PasidSpaceFull(bdf, range.first(), range.last());
}

Decision IntentDraft::Finish(std::shared_ptr<google::protobuf::Message> reply) && {
  Decision decision;
  decision.reply = std::move(reply);
  // What changes nothing relies on nothing.
  if (puts_.empty() && deletes_.empty()) return decision;
  for (auto& [key, compare] : compares_) {
    decision.transaction.compares.push_back(std::move(compare));
  }
  for (auto& [key, row] : puts_) decision.transaction.puts.emplace_back(key, std::move(row));
  decision.transaction.deletes.assign(deletes_.begin(), deletes_.end());
  return decision;
}

bool WasSeen(const HostRecord* host) {
  return host != nullptr && host->observed.status().state() != v1::HostStatus::STATE_UNSPECIFIED &&
         host->observed.status().state() != v1::HostStatus::STATE_NEVER_SEEN;
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

absl::Status CheckEtag(const std::string& name, const std::string& etag,
                       const google::protobuf::Message& row) {
  const std::string current = Etag(row);
  return etag.empty() || etag == current ? absl::OkStatus() : errors::EtagMismatch(name, current);
}

absl::Status Prefixed(const std::string& prefix, const absl::Status& status) {
  if (prefix.empty() || status.ok()) return status;
  absl::Status result(status.code(), absl::StrCat(prefix, ": ", status.message()));
  status.ForEachPayload(
      [&](absl::string_view type, const absl::Cord& payload) { result.SetPayload(type, payload); });
  return result;
}

bool SameMessage(const google::protobuf::Message& a, const google::protobuf::Message& b) {
  return google::protobuf::util::MessageDifferencer::Equals(a, b);
}

bool SameLabels(const v1::Metadata& wanted, const storage::v1::RowMetadata& row) {
  return std::map<std::string, std::string>(wanted.labels().begin(), wanted.labels().end()) ==
         std::map<std::string, std::string>(row.labels().begin(), row.labels().end());
}

}  // namespace nestor::server
