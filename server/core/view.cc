#include "server/core/view.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "api/support/errors.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "server/core/decision.h"
#include "server/core/keys.h"

namespace nestor::server {
namespace {

constexpr uint32_t kSchema = 1;

template <typename Row>
absl::Status ParseRow(const StoreEvent& event, Row* row) {
  if (!row->ParseFromString(*event.value)) {
    return errors::StoreCorrupt("the data directory",
                                absl::StrCat("row ", event.key, " does not parse"));
  }
  return absl::OkStatus();
}

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

// "v/{project}/{vm}" -> resource name.
std::string MachineNameOf(absl::string_view rest) {
  const std::vector<std::string> ids = absl::StrSplit(rest, '/');
  return ids.size() == 2 ? VirtualMachineName{ids[0], ids[1]}.ToString() : "";
}

std::string BindingNameOf(absl::string_view rest) {
  const std::vector<std::string> ids = absl::StrSplit(rest, '/');
  return ids.size() == 3 ? PasidBindingName{ids[0], ids[1], ids[2]}.ToString() : "";
}

// Everything before "/pasidBindings/".
absl::string_view MachineOf(absl::string_view binding) {
  return binding.substr(0, binding.rfind("/pasidBindings/"));
}

absl::string_view HostIdOf(absl::string_view host_name) {
  absl::ConsumePrefix(&host_name, "hosts/");
  return host_name;
}

template <typename Row>
v1::Metadata RenderMetadata(const Row& row, int64_t revision) {
  const storage::v1::RowMetadata& stored = row.metadata();
  v1::Metadata metadata;
  metadata.set_uid(stored.uid());
  metadata.set_etag(Etag(row));
  metadata.set_generation(stored.generation());
  metadata.set_revision(revision);
  *metadata.mutable_create_time() = stored.create_time();
  *metadata.mutable_update_time() = stored.update_time();
  if (stored.has_delete_time()) *metadata.mutable_delete_time() = stored.delete_time();
  *metadata.mutable_labels() = stored.labels();
  return metadata;
}

v1::Condition MakeCondition(absl::string_view type, bool holds, absl::string_view reason,
                            absl::string_view message, int64_t generation) {
  v1::Condition condition;
  condition.set_type(std::string(type));
  condition.set_status(holds ? v1::Condition::TRUTH_TRUE : v1::Condition::TRUTH_FALSE);
  condition.set_reason(std::string(reason));
  condition.set_message(std::string(message));
  condition.set_observed_generation(generation);
  return condition;
}

// Accepted and Programmed, from the rung of the present generation.
void AddBindingConditions(v1::PasidBindingStatus* status, int64_t generation) {
  const bool current = status->observed_generation() == generation;
  const v1::Failure& failure = status->failure();
  const bool programmed = current && status->state() == v1::PasidBindingStatus::STATE_PROGRAMMED;
  *status->add_conditions() =
      MakeCondition("Accepted", current && status->times().has_accepted(),
                    current ? "ACCEPTED" : "WAITING_FOR_AGENT",
                    current ? "" : "the host's agent has not answered yet", generation);
  *status->add_conditions() = MakeCondition(
      "Programmed", programmed,
      programmed ? "PROGRAMMED" : (failure.reason().empty() ? "WAITING" : failure.reason()),
      programmed ? "" : failure.message(), generation);
}

}  // namespace

absl::Status View::Apply(const StoreEvent& event, std::vector<StateChange>* changes) {
  head_revision_ = std::max(head_revision_, event.revision);
  const auto [kind, rest] = std::pair<absl::string_view, absl::string_view>(
      absl::StrSplit(event.key, absl::MaxSplits('/', 1)));
  StateChange change;
  change.revision = event.revision;
  change.deleted = !event.value.has_value();
  if (kind == "h") {
    RETURN_IF_ERROR(ApplyHost(event, rest, &change));
  } else if (kind == "v") {
    RETURN_IF_ERROR(ApplyVirtualMachine(event, MachineNameOf(rest), &change));
  } else if (kind == "b") {
    RETURN_IF_ERROR(ApplyPasidBinding(event, BindingNameOf(rest), &change));
  } else if (kind == "oh" || kind == "od" || kind == "ov" || kind == "ob") {
    change.deleted = false;
    RETURN_IF_ERROR(ApplyObserved(event, kind, rest, &change));
  } else {
    return ApplyInternal(event, kind, rest);
  }
  if (!change.name.empty()) changes->push_back(std::move(change));
  return absl::OkStatus();
}

absl::Status View::ApplyHost(const StoreEvent& event, absl::string_view id, StateChange* change) {
  change->kind = ResourceKind::kHost;
  change->name = absl::StrCat("hosts/", id);
  change->intent = true;
  HostRecord& record = hosts_[std::string(id)];
  change->uid = record.row.metadata().uid();
  if (change->deleted) {
    hosts_.erase(std::string(id));
    return absl::OkStatus();
  }
  record.row.Clear();
  record.revision = event.revision;
  return ParseIntentRow(event, &record.row);
}

absl::Status View::ApplyVirtualMachine(const StoreEvent& event, const std::string& name,
                                       StateChange* change) {
  change->kind = ResourceKind::kVirtualMachine;
  change->name = name;
  change->intent = true;
  auto it = virtual_machines_.find(name);
  if (change->deleted) {
    if (it == virtual_machines_.end()) return absl::OkStatus();
    change->uid = it->second.row.metadata().uid();
    virtual_machine_by_uid_.erase(change->uid);
    if (auto host = hosts_.find(std::string(HostIdOf(it->second.host()))); host != hosts_.end()) {
      host->second.virtual_machines.erase(name);
    }
    virtual_machines_.erase(it);
    return absl::OkStatus();
  }
  VirtualMachineRecord& record = virtual_machines_[name];
  record.row.Clear();
  record.revision = event.revision;
  RETURN_IF_ERROR(ParseIntentRow(event, &record.row));
  virtual_machine_by_uid_[record.row.metadata().uid()] = name;
  hosts_[std::string(HostIdOf(record.host()))].virtual_machines.insert(name);
  return absl::OkStatus();
}

absl::Status View::ApplyPasidBinding(const StoreEvent& event, const std::string& name,
                                     StateChange* change) {
  change->kind = ResourceKind::kPasidBinding;
  change->name = name;
  change->intent = true;
  auto it = pasid_bindings_.find(name);
  if (change->deleted) {
    if (it == pasid_bindings_.end()) return absl::OkStatus();
    change->uid = it->second.row.metadata().uid();
    pasid_binding_by_uid_.erase(change->uid);
    pasid_bindings_.erase(it);
    return absl::OkStatus();
  }
  PasidBindingRecord& record = pasid_bindings_[name];
  record.row.Clear();
  record.revision = event.revision;
  RETURN_IF_ERROR(ParseIntentRow(event, &record.row));
  pasid_binding_by_uid_[record.row.metadata().uid()] = name;
  return absl::OkStatus();
}

absl::Status View::ApplyObserved(const StoreEvent& event, absl::string_view kind,
                                 absl::string_view rest, StateChange* change) {
  const bool gone = !event.value.has_value();
  if (kind == "oh") {
    change->kind = ResourceKind::kHost;
    change->name = absl::StrCat("hosts/", rest);
    HostRecord& record = hosts_[std::string(rest)];
    record.observed.Clear();
    return gone ? absl::OkStatus() : ParseRow(event, &record.observed);
  }
  if (kind == "od") {
    const auto [host, bdf] = std::pair<std::string, std::string>(absl::StrSplit(rest, '/'));
    change->kind = ResourceKind::kDevice;
    change->name = DeviceName{host, bdf}.ToString();
    storage::v1::DeviceObservedRow row;
    if (!gone) RETURN_IF_ERROR(ParseRow(event, &row));
    auto& devices = hosts_[host].devices;
    if (gone) {
      devices.erase(bdf);
    } else {
      devices[bdf] = std::move(*row.mutable_status());
    }
    return absl::OkStatus();
  }
  // Observed rows name the uid they are about: one of an earlier life of the name is nothing.
  if (kind == "ov") {
    change->kind = ResourceKind::kVirtualMachine;
    const std::string name = MachineNameOf(rest);
    auto it = virtual_machines_.find(name);
    storage::v1::VirtualMachineObservedRow row;
    if (!gone) RETURN_IF_ERROR(ParseRow(event, &row));
    if (it == virtual_machines_.end() || row.uid() != it->second.row.metadata().uid()) {
      return absl::OkStatus();
    }
    change->name = name;
    it->second.observed = std::move(*row.mutable_status());
    return absl::OkStatus();
  }
  change->kind = ResourceKind::kPasidBinding;
  const std::string name = BindingNameOf(rest);
  auto it = pasid_bindings_.find(name);
  storage::v1::PasidBindingObservedRow row;
  if (!gone) RETURN_IF_ERROR(ParseRow(event, &row));
  if (it == pasid_bindings_.end() || row.uid() != it->second.row.metadata().uid()) {
    return absl::OkStatus();
  }
  change->name = name;
  it->second.observed = std::move(*row.mutable_status());
  return absl::OkStatus();
}

absl::Status View::ApplyInternal(const StoreEvent& event, absl::string_view kind,
                                 absl::string_view rest) {
  const bool gone = !event.value.has_value();
  if (kind == "d" || kind == "p") {
    storage::v1::ClaimRow row;
    if (gone) {
      claims_.erase(event.key);
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(ParseRow(event, &row));
    claims_[event.key] = {row.holder(), event.revision};
  } else if (kind == "e") {
    storage::v1::EpochRow row;
    if (!gone) RETURN_IF_ERROR(ParseRow(event, &row));
    epochs_[std::string(rest)] = {row.epoch(), gone ? 0 : event.revision};
  } else if (kind == "r") {
    return ApplyRequest(event);
  } else {
    return errors::StoreIncompatible(
        absl::StrCat("row ", Printable(event.key), " is of no kind that this version knows"));
  }
  return absl::OkStatus();
}

absl::Status View::ApplyRequest(const StoreEvent& event) {
  // r/{scope}/{request_id}; a scope may hold slashes, an id never does.
  const std::string scope = event.key.substr(2, event.key.rfind('/') - 2);
  if (auto it = requests_.find(event.key); it != requests_.end()) {
    requests_by_age_[scope].erase(it->second.revision);
    requests_.erase(it);
  }
  if (!event.value.has_value()) return absl::OkStatus();
  RequestRecord& record = requests_[event.key];
  record.revision = event.revision;
  RETURN_IF_ERROR(ParseRow(event, &record.row));
  requests_by_age_[scope].emplace(event.revision, event.key);
  return absl::OkStatus();
}

const HostRecord* View::FindHost(absl::string_view host) const {
  auto it = hosts_.find(std::string(host));
  return it != hosts_.end() && it->second.revision > 0 ? &it->second : nullptr;
}

const VirtualMachineRecord* View::FindVirtualMachine(absl::string_view name) const {
  auto it = virtual_machines_.find(std::string(name));
  return it != virtual_machines_.end() ? &it->second : nullptr;
}

const PasidBindingRecord* View::FindPasidBinding(absl::string_view name) const {
  auto it = pasid_bindings_.find(std::string(name));
  return it != pasid_bindings_.end() ? &it->second : nullptr;
}

std::string View::VirtualMachineByUid(absl::string_view uid) const {
  auto it = virtual_machine_by_uid_.find(uid);
  return it != virtual_machine_by_uid_.end() ? it->second : "";
}

std::string View::PasidBindingByUid(absl::string_view uid) const {
  auto it = pasid_binding_by_uid_.find(uid);
  return it != pasid_binding_by_uid_.end() ? it->second : "";
}

std::vector<std::string> View::BindingsOf(absl::string_view virtual_machine) const {
  const std::string prefix = absl::StrCat(virtual_machine, "/pasidBindings/");
  std::vector<std::string> names;
  for (auto it = pasid_bindings_.lower_bound(prefix);
       it != pasid_bindings_.end() && absl::StartsWith(it->first, prefix); ++it) {
    names.push_back(it->first);
  }
  return names;
}

bool View::HasBindings(absl::string_view virtual_machine) const {
  const std::string prefix = absl::StrCat(virtual_machine, "/pasidBindings/");
  auto it = pasid_bindings_.lower_bound(prefix);
  return it != pasid_bindings_.end() && absl::StartsWith(it->first, prefix);
}

ClaimRecord View::DeviceClaim(absl::string_view host, absl::string_view bdf) const {
  auto it = claims_.find(keys::DeviceClaim(host, bdf));
  return it != claims_.end() ? it->second : ClaimRecord();
}

ClaimRecord View::PasidClaim(absl::string_view host, absl::string_view bdf, uint32_t pasid) const {
  auto it = claims_.find(keys::PasidClaim(host, bdf, pasid));
  return it != claims_.end() ? it->second : ClaimRecord();
}

std::set<uint32_t> View::ClaimedPasids(absl::string_view host, absl::string_view bdf) const {
  std::string prefix = absl::StrCat("p/", host, "/");
  if (!bdf.empty()) absl::StrAppend(&prefix, bdf, "/");
  std::set<uint32_t> pasids;
  for (auto it = claims_.lower_bound(prefix);
       it != claims_.end() && absl::StartsWith(it->first, prefix); ++it) {
    uint32_t pasid = 0;
    if (absl::SimpleHexAtoi(it->first.substr(it->first.rfind('/') + 1), &pasid)) {
      pasids.insert(pasid);
    }
  }
  return pasids;
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
  static const std::map<int64_t, std::string> kNone;
  auto it = requests_by_age_.find(scope);
  return it != requests_by_age_.end() ? it->second : kNone;
}

bool View::IsHostSilent(absl::string_view host_name) const {
  const HostRecord* host = FindHost(HostIdOf(host_name));
  return host != nullptr && host->observed.status().state() == v1::HostStatus::STATE_UNKNOWN;
}

v1::Host View::HostResource(absl::string_view host) const {
  const HostRecord* record = FindHost(host);
  return record != nullptr ? RenderHost(host, *record) : v1::Host();
}

v1::Device View::DeviceResource(absl::string_view host, absl::string_view bdf) const {
  v1::Device device;
  const HostRecord* record = FindHost(host);
  if (record == nullptr) return device;
  auto it = record->devices.find(std::string(bdf));
  if (it == record->devices.end()) return device;
  device.set_name(DeviceName{std::string(host), std::string(bdf)}.ToString());
  *device.mutable_status() = it->second;
  device.mutable_status()->set_virtual_machine(DeviceClaim(host, bdf).holder);
  return device;
}

v1::VirtualMachine View::VirtualMachineResource(absl::string_view name) const {
  const VirtualMachineRecord* record = FindVirtualMachine(name);
  if (record == nullptr) return {};
  v1::VirtualMachine machine = RenderVirtualMachine(name, *record);
  v1::VirtualMachineStatus& status = *machine.mutable_status();
  for (const std::string& binding : BindingsOf(name)) {
    const PasidBindingRecord& child = pasid_bindings_.at(binding);
    status.set_bindings(status.bindings() + 1);
    if (child.observed.state() == v1::PasidBindingStatus::STATE_PROGRAMMED &&
        child.observed.programmed_generation() == child.row.metadata().generation()) {
      status.set_programmed_bindings(status.programmed_bindings() + 1);
    }
  }
  if (IsHostSilent(record->host()) && !machine.metadata().has_delete_time()) {
    status.set_state(v1::VirtualMachineStatus::STATE_UNKNOWN);
  }
  return machine;
}

v1::PasidBinding View::PasidBindingResource(absl::string_view name) const {
  const PasidBindingRecord* record = FindPasidBinding(name);
  if (record == nullptr) return {};
  v1::PasidBinding binding = RenderPasidBinding(name, *record);
  const VirtualMachineRecord* machine = FindVirtualMachine(MachineOf(name));
  if (machine != nullptr && IsHostSilent(machine->host()) &&
      !binding.metadata().has_delete_time()) {
    binding.mutable_status()->set_state(v1::PasidBindingStatus::STATE_UNKNOWN);
    for (v1::Condition& condition : *binding.mutable_status()->mutable_conditions()) {
      condition.set_status(v1::Condition::TRUTH_UNKNOWN);
      condition.set_reason("HOST_UNKNOWN");
      condition.set_message("the host's agent is silent");
    }
  }
  return binding;
}

v1::Host RenderHost(absl::string_view host, const HostRecord& record) {
  v1::Host resource;
  resource.set_name(absl::StrCat("hosts/", host));
  *resource.mutable_metadata() = RenderMetadata(record.row, record.revision);
  *resource.mutable_spec() = record.row.spec();
  *resource.mutable_status() = record.observed.status();
  if (resource.status().state() == v1::HostStatus::STATE_UNSPECIFIED) {
    resource.mutable_status()->set_state(v1::HostStatus::STATE_NEVER_SEEN);
  }
  return resource;
}

v1::VirtualMachine RenderVirtualMachine(absl::string_view name,
                                        const VirtualMachineRecord& record) {
  v1::VirtualMachine resource;
  resource.set_name(std::string(name));
  *resource.mutable_metadata() = RenderMetadata(record.row, record.revision);
  *resource.mutable_spec() = record.row.spec();
  v1::VirtualMachineStatus& status = *resource.mutable_status();
  status = record.observed;
  if (status.state() == v1::VirtualMachineStatus::STATE_UNSPECIFIED) {
    status.set_state(v1::VirtualMachineStatus::STATE_PENDING);
  }
  if (resource.metadata().has_delete_time()) {
    status.set_state(v1::VirtualMachineStatus::STATE_DELETING);
  }
  return resource;
}

v1::PasidBinding RenderPasidBinding(absl::string_view name, const PasidBindingRecord& record) {
  v1::PasidBinding resource;
  resource.set_name(std::string(name));
  *resource.mutable_metadata() = RenderMetadata(record.row, record.revision);
  *resource.mutable_spec() = record.row.spec();
  const int64_t generation = record.row.metadata().generation();
  v1::PasidBindingStatus& status = *resource.mutable_status();
  status = record.observed;
  status.set_effective_pasid(record.row.effective_pasid());
  if (status.observed_generation() != generation) {
    // What was said of an older generation; the programmed_* fields still hold.
    status.set_state(v1::PasidBindingStatus::STATE_PERSISTED);
    status.clear_times();
    status.clear_failure();
    status.clear_attempts();
  }
  *status.mutable_times()->mutable_persisted() = record.row.metadata().update_time();
  if (resource.metadata().has_delete_time()) {
    status.set_state(v1::PasidBindingStatus::STATE_DELETING);
  }
  AddBindingConditions(&status, generation);
  return resource;
}

std::string Etag(const google::protobuf::Message& row) {
  return absl::StrFormat("%016x", Fingerprint(row));
}

}  // namespace nestor::server
