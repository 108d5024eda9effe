#include "server/core/view.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "api/support/errors.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "server/core/keys.h"
#include "server/core/stored_row.h"

namespace nestor::server {
namespace {

constexpr uint32_t kSchema = 1;

// Rows of intent say which version of the layout wrote them.
template <typename Row>
absl::Status ParseIntentRow(const StoreEvent& event, Row* row) {
  RETURN_IF_ERROR(ParseRow(event, row));
  if (row->metadata().schema() > kSchema) {
    return errors::StoreIncompatible(absl::StrCat("row ", event.key, " has layout ",
                                                  row->metadata().schema(),
                                                  ", written by a newer nestor-server; run that"));
  }
  return absl::OkStatus();
}

// A state that only a newer version knows is none that this one can show or count.
template <typename Status>
void ForgetUnknownState(Status* status) {
  if (!Status::State_IsValid(status->state())) status->clear_state();
}

}  // namespace

absl::Status View::Apply(const StoreEvent& event, std::vector<StateChange>* changes) {
  AdvanceTo(event.revision);
  const auto [kind, rest] = std::pair<absl::string_view, absl::string_view>(
      absl::StrSplit(event.key, absl::MaxSplits('/', 1)));
  if (!keys::IsKey(event.key)) {
    return errors::StoreIncompatible(
        absl::StrCat("row ", Printable(event.key), " is of no kind that this version knows"));
  }
  if (kind == "d" || kind == "p") return ApplyClaim(event, kind, rest);
  if (kind == "e") return ApplyEpoch(event, rest);
  if (kind == "r") return ApplyRequest(event);
  if (kind == "s") return ApplyRunEnd(event);
  if (kind == "oh") return ApplyObservedHost(event, rest, changes);
  if (kind == "oe") return ApplyHostEvents(event, rest);
  if (kind == "f") return ApplyHostFence(event, rest, changes);
  if (kind == "m") return ApplyDeparture(event, changes);

  StateChange change;
  change.revision = event.revision;
  if (kind == "h") {
    RETURN_IF_ERROR(ApplyHost(event, rest, &change));
  } else if (kind == "v") {
    RETURN_IF_ERROR(ApplyVirtualMachine(event, keys::VirtualMachineNameOf(rest), &change));
  } else if (kind == "b") {
    RETURN_IF_ERROR(ApplyPasidBinding(event, keys::PasidBindingNameOf(rest), &change));
  } else if (kind == "od") {
    RETURN_IF_ERROR(ApplyObservedDevice(event, rest, &change));
  } else if (kind == "ov") {
    RETURN_IF_ERROR(ApplyObservedVirtualMachine(event, keys::VirtualMachineNameOf(rest), &change));
  } else {
    RETURN_IF_ERROR(ApplyObservedPasidBinding(event, keys::PasidBindingNameOf(rest), &change));
  }
  if (!change.name.empty()) changes->push_back(std::move(change));
  return absl::OkStatus();
}

void View::AdvanceTo(int64_t revision) { head_revision_ = std::max(head_revision_, revision); }

absl::Status View::ApplyHost(const StoreEvent& event, absl::string_view id, StateChange* change) {
  change->kind = ResourceKind::kHost;
  change->intent = true;
  change->deleted = !event.value.has_value();
  if (change->deleted) {
    auto it = hosts_.find(id);
    if (it == hosts_.end()) return absl::OkStatus();
    change->name = absl::StrCat("hosts/", id);
    change->uid = it->second.row.metadata().uid();
    // A fence stands until the host itself has shown that it holds nothing.
    std::optional<FenceRecord> fence = std::move(it->second.fence);
    hosts_.erase(it);
    if (fence) hosts_[std::string(id)].fence = std::move(fence);
    return absl::OkStatus();
  }
  change->name = absl::StrCat("hosts/", id);
  HostRecord& record = hosts_[std::string(id)];
  record.revision = event.revision;
  return ParseIntentRow(event, &record.row);
}

absl::Status View::ApplyVirtualMachine(const StoreEvent& event, const std::string& name,
                                       StateChange* change) {
  change->kind = ResourceKind::kVirtualMachine;
  change->intent = true;
  change->deleted = !event.value.has_value();
  if (change->deleted) {
    auto it = virtual_machines_.find(name);
    if (it == virtual_machines_.end()) return absl::OkStatus();
    change->name = name;
    change->uid = it->second.row.metadata().uid();
    virtual_machine_by_uid_.erase(change->uid);
    if (auto host = hosts_.find(it->second.host_id()); host != hosts_.end()) {
      host->second.virtual_machines.erase(name);
    }
    virtual_machines_.erase(it);
    return absl::OkStatus();
  }
  change->name = name;
  const auto it = virtual_machines_.try_emplace(name).first;
  it->second.revision = event.revision;
  if (auto host = hosts_.find(it->second.host_id()); host != hosts_.end()) {
    host->second.virtual_machines.erase(name);
  }
  RETURN_IF_ERROR(ParseIntentRow(event, &it->second.row));
  if (const DepartureRecord* departure = FindDeparture(name)) {
    it->second.leaving_host = departure->host;
  }
  virtual_machine_by_uid_[it->second.row.metadata().uid()] = &it->first;
  hosts_[it->second.host_id()].virtual_machines.insert(name);
  return absl::OkStatus();
}

absl::Status View::ApplyPasidBinding(const StoreEvent& event, const std::string& name,
                                     StateChange* change) {
  change->kind = ResourceKind::kPasidBinding;
  change->intent = true;
  change->deleted = !event.value.has_value();
  if (change->deleted) {
    const std::optional<PasidBindingRecord> record = pasid_bindings_.Find(name);
    if (!record) return absl::OkStatus();
    change->name = name;
    change->uid = record->row.metadata().uid();
    pasid_bindings_.Erase(name);
    return absl::OkStatus();
  }
  change->name = name;
  storage::v1::PasidBindingRow row;
  RETURN_IF_ERROR(ParseIntentRow(event, &row));
  pasid_bindings_.Put(name, event.revision, *event.value, row);
  return absl::OkStatus();
}

absl::Status View::ApplyObservedHost(const StoreEvent& event, absl::string_view id,
                                     std::vector<StateChange>* changes) {
  storage::v1::HostObservedRow row;
  if (event.value.has_value()) RETURN_IF_ERROR(ParseRow(event, &row));
  if (!event.value.has_value() && !hosts_.contains(id)) return absl::OkStatus();
  HostRecord& record = hosts_[std::string(id)];
  const bool was_silent = IsSilent(record);
  ForgetUnknownState(row.mutable_status());
  record.observed = std::move(row);
  AddChangesOf(id, IsSilent(record) != was_silent, event, changes);
  return absl::OkStatus();
}

absl::Status View::ApplyHostEvents(const StoreEvent& event, absl::string_view id) {
  storage::v1::HostEventsRow row;
  if (event.value.has_value()) RETURN_IF_ERROR(ParseRow(event, &row));
  if (!event.value.has_value() && !hosts_.contains(id)) return absl::OkStatus();
  hosts_[std::string(id)].events = std::move(*row.mutable_events());
  return absl::OkStatus();
}

absl::Status View::ApplyObservedDevice(const StoreEvent& event, absl::string_view rest,
                                       StateChange* change) {
  const auto [host, bdf] = std::pair<std::string, std::string>(absl::StrSplit(rest, '/'));
  change->kind = ResourceKind::kDevice;
  change->name = DeviceName{host, bdf}.ToString();
  if (!event.value.has_value()) {
    if (auto it = hosts_.find(host); it != hosts_.end()) it->second.devices.erase(bdf);
    return absl::OkStatus();
  }
  storage::v1::DeviceObservedRow row;
  RETURN_IF_ERROR(ParseRow(event, &row));
  hosts_[host].devices[bdf] = std::move(*row.mutable_status());
  return absl::OkStatus();
}

absl::Status View::ApplyObservedVirtualMachine(const StoreEvent& event, const std::string& name,
                                               StateChange* change) {
  change->kind = ResourceKind::kVirtualMachine;
  storage::v1::VirtualMachineObservedRow row;
  if (event.value.has_value()) RETURN_IF_ERROR(ParseRow(event, &row));
  auto it = virtual_machines_.find(name);
  // It names the uid it is about: of an earlier life of the name it says nothing.
  if (it == virtual_machines_.end() || row.uid() != it->second.row.metadata().uid()) {
    return absl::OkStatus();
  }
  change->name = name;
  ForgetUnknownState(row.mutable_status());
  it->second.observed = std::move(*row.mutable_status());
  it->second.events = std::move(*row.mutable_events());
  return absl::OkStatus();
}

absl::Status View::ApplyObservedPasidBinding(const StoreEvent& event, const std::string& name,
                                             StateChange* change) {
  change->kind = ResourceKind::kPasidBinding;
  storage::v1::PasidBindingObservedRow row;
  if (event.value.has_value()) RETURN_IF_ERROR(ParseRow(event, &row));
  const std::optional<PasidBindingRecord> record = pasid_bindings_.Find(name);
  if (!record || row.uid() != record->row.metadata().uid()) return absl::OkStatus();
  change->name = name;
  ForgetUnknownState(row.mutable_status());
  pasid_bindings_.Observe(name, std::move(row));
  return absl::OkStatus();
}

absl::Status View::ApplyClaim(const StoreEvent& event, absl::string_view kind,
                              absl::string_view rest) {
  ClaimRecord claim;
  if (event.value.has_value()) {
    storage::v1::ClaimRow row;
    RETURN_IF_ERROR(ParseRow(event, &row));
    claim = {std::move(*row.mutable_holder()), event.revision};
  }
  if (kind == "d") {
    const auto [host, bdf] = std::pair<std::string, std::string>(absl::StrSplit(rest, '/'));
    auto& devices = claims_[host].devices;
    claim.revision > 0 ? void(devices[bdf] = std::move(claim)) : void(devices.erase(bdf));
    return absl::OkStatus();
  }
  const std::optional<keys::PasidClaimKey> key = keys::ParsePasidClaim(event.key);
  PasidIndex& pasids = claims_[key->host].pasids;
  if (claim.revision > 0) {
    pasids.Insert(key->bdf, key->pasid, claim);
  } else {
    pasids.Erase(key->bdf, key->pasid);
  }
  return absl::OkStatus();
}

absl::Status View::ApplyEpoch(const StoreEvent& event, absl::string_view host) {
  storage::v1::EpochRow row;
  if (!event.value.has_value()) {
    epochs_.erase(host);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(ParseRow(event, &row));
  epochs_[host] = {row.epoch(), event.revision};
  return absl::OkStatus();
}

absl::Status View::ApplyRunEnd(const StoreEvent& event) {
  const int64_t revision = *keys::ParseRunEnd(event.key);
  if (event.value.has_value()) {
    run_ends_.insert(revision);
  } else {
    run_ends_.erase(revision);
  }
  return absl::OkStatus();
}

int64_t View::EndOfRun(int64_t revision) const {
  const auto end = run_ends_.lower_bound(revision);
  return end != run_ends_.end() ? *end : head_revision_;
}

absl::Status View::ApplyRequest(const StoreEvent& event) {
  // r/{scope}/{request_id}; a scope may hold slashes, an id never does.
  const std::string scope_name = event.key.substr(2, event.key.rfind('/') - 2);
  RequestScope& scope = request_scopes_[scope_name];
  if (auto it = requests_.find(event.key); it != requests_.end()) {
    scope.by_age.erase(it->second.revision);
    scope.bytes -= it->second.row.reply().size();
    requests_.erase(it);
  }
  if (event.value.has_value()) {
    RequestRecord& record = requests_[event.key];
    record.revision = event.revision;
    RETURN_IF_ERROR(ParseRow(event, &record.row));
    scope.by_age.emplace(event.revision, event.key);
    scope.bytes += record.row.reply().size();
  }
  if (scope.by_age.empty()) request_scopes_.erase(scope_name);
  return absl::OkStatus();
}

const HostRecord* View::FindHost(absl::string_view host) const {
  auto it = hosts_.find(host);
  return it != hosts_.end() && it->second.revision > 0 ? &it->second : nullptr;
}

const VirtualMachineRecord* View::FindVirtualMachine(absl::string_view name) const {
  auto it = virtual_machines_.find(name);
  return it != virtual_machines_.end() ? &it->second : nullptr;
}

std::optional<PasidBindingRecord> View::FindPasidBinding(absl::string_view name) const {
  return pasid_bindings_.Find(name);
}

std::string View::VirtualMachineByUid(absl::string_view uid) const {
  auto it = virtual_machine_by_uid_.find(uid);
  return it != virtual_machine_by_uid_.end() ? *it->second : "";
}

std::string View::PasidBindingByUid(absl::string_view uid) const {
  return pasid_bindings_.NameOfUid(uid);
}

std::vector<std::string> View::BindingsOf(absl::string_view virtual_machine) const {
  return pasid_bindings_.NamesOf(virtual_machine);
}

bool View::HasBindings(absl::string_view virtual_machine) const {
  return pasid_bindings_.CountsOf(virtual_machine) != nullptr;
}

ClaimRecord View::DeviceClaim(absl::string_view host, absl::string_view bdf) const {
  const auto& devices = ClaimsOf(host).devices;
  auto it = devices.find(bdf);
  return it != devices.end() ? it->second : ClaimRecord();
}

ClaimRecord View::PasidClaim(absl::string_view host, absl::string_view bdf, uint32_t pasid) const {
  return ClaimsOf(host).pasids.Find(bdf, pasid);
}

const HostClaims& View::ClaimsOf(absl::string_view host) const {
  static const HostClaims* const kNone = new HostClaims();
  auto it = claims_.find(host);
  return it != claims_.end() ? it->second : *kNone;
}

std::vector<std::string> View::NoteOnItsWay(const Transaction& transaction) {
  std::vector<std::string> claims;
  for (const auto& [key, value] : transaction.puts) {
    const std::optional<keys::PasidClaimKey> parsed = keys::ParsePasidClaim(key);
    if (!parsed) continue;
    claims_[parsed->host].pasids_on_their_way.Insert(parsed->bdf, parsed->pasid, {});
    claims.push_back(key);
  }
  return claims;
}

void View::ForgetOnItsWay(const std::vector<std::string>& claims) {
  for (const std::string& key : claims) {
    const std::optional<keys::PasidClaimKey> parsed = keys::ParsePasidClaim(key);
    if (parsed) claims_[parsed->host].pasids_on_their_way.Erase(parsed->bdf, parsed->pasid);
  }
}

EpochRecord View::Epoch(absl::string_view host) const {
  auto it = epochs_.find(host);
  return it != epochs_.end() ? it->second : EpochRecord();
}

const RequestRecord* View::FindRequest(absl::string_view key) const {
  auto it = requests_.find(key);
  return it != requests_.end() ? &it->second : nullptr;
}

const std::map<int64_t, std::string>& View::RequestsByAge(absl::string_view scope) const {
  static const auto* const kNone = new std::map<int64_t, std::string>();
  auto it = request_scopes_.find(scope);
  return it != request_scopes_.end() ? it->second.by_age : *kNone;
}

size_t View::RequestBytes(absl::string_view scope) const {
  auto it = request_scopes_.find(scope);
  return it != request_scopes_.end() ? it->second.bytes : 0;
}

}  // namespace nestor::server
