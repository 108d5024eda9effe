// What is known of hosts, and what follows from it for all that is placed there.

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "api/support/status_macros.h"
#include "server/core/keys.h"
#include "server/core/stored_row.h"
#include "server/core/view.h"

namespace nestor::server {

namespace {

StateChange& AddChange(ResourceKind kind, const std::string& name, int64_t revision,
                       std::vector<StateChange>* changes) {
  StateChange& change = changes->emplace_back();
  change.kind = kind;
  change.name = name;
  change.revision = revision;
  return change;
}

}  // namespace

bool IsSilent(const HostRecord& host) {
  return !host.fence && host.observed.status().state() == v1::HostStatus::STATE_UNKNOWN;
}

absl::Status View::ApplyHostFence(const StoreEvent& event, absl::string_view id,
                                  std::vector<StateChange>* changes) {
  HostRecord& record = hosts_[std::string(id)];
  record.fence.reset();
  if (event.value.has_value()) {
    storage::v1::HostFenceRow row;
    RETURN_IF_ERROR(ParseRow(event, &row));
    record.fence = FenceRecord{std::move(*row.mutable_fence()), event.revision};
  }
  const size_t first = changes->size();
  AddChangesOf(id, true, event, changes);
  if (changes->size() > first) (*changes)[first].intent = true;
  return absl::OkStatus();
}

void View::AddChangesOf(absl::string_view host, bool with_content, const StoreEvent& event,
                        std::vector<StateChange>* changes) const {
  const HostRecord* record = FindHost(host);
  if (record == nullptr) return;
  AddChange(ResourceKind::kHost, absl::StrCat("hosts/", host), event.revision, changes);
  if (!with_content) return;
  for (const std::string& machine : record->virtual_machines) {
    AddChange(ResourceKind::kVirtualMachine, machine, event.revision, changes);
    for (const std::string& binding : BindingsOf(machine)) {
      AddChange(ResourceKind::kPasidBinding, binding, event.revision, changes);
    }
  }
}

absl::Status View::ApplyDeparture(const StoreEvent& event, std::vector<StateChange>* changes) {
  const auto [host, name] = keys::ParseDeparture(event.key);
  departures_.erase(name);
  hosts_[host].departing.erase(name);
  if (event.value.has_value()) {
    DepartureRecord record{host, {}, event.revision};
    RETURN_IF_ERROR(ParseRow(event, &record.row));
    departures_[name] = std::move(record);
    hosts_[host].departing.insert(name);
  }
  // What the new host may be told has changed, and what the old one is to be told.
  auto machine = virtual_machines_.find(name);
  if (machine == virtual_machines_.end()) return absl::OkStatus();
  machine->second.leaving_host = event.value.has_value() ? host : "";
  AddChange(ResourceKind::kVirtualMachine, name, event.revision, changes).intent = true;
  for (const std::string& binding : BindingsOf(name)) {
    AddChange(ResourceKind::kPasidBinding, binding, event.revision, changes).intent = true;
  }
  return absl::OkStatus();
}

const DepartureRecord* View::FindDeparture(absl::string_view name) const {
  auto it = departures_.find(name);
  return it != departures_.end() ? &it->second : nullptr;
}

const FenceRecord* View::FindFence(absl::string_view host) const {
  auto it = hosts_.find(host);
  return it != hosts_.end() && it->second.fence ? &*it->second.fence : nullptr;
}

bool View::IsHostSilent(absl::string_view host_name) const {
  const HostRecord* host = FindHost(absl::StripPrefix(host_name, "hosts/"));
  return host != nullptr && IsSilent(*host);
}

bool View::IsHostFenced(absl::string_view host_name) const {
  return FindFence(absl::StripPrefix(host_name, "hosts/")) != nullptr;
}

}  // namespace nestor::server
