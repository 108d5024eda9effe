#include "server/core/host_claim.h"

#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "api/support/proto_time.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "server/core/keys.h"
#include "server/core/observation.h"
#include "server/core/timeline.h"

namespace nestor::server {
namespace {

// The binding is no longer where it was last seen: in the kernel.
v1::PasidBindingStatus LostStatus(const v1::PasidBindingStatus& before) {
  v1::PasidBindingStatus status = before;
  status.set_state(v1::PasidBindingStatus::STATE_NOT_PROGRAMMED);
  status.clear_programmed_root();
  status.clear_programmed_generation();
  status.mutable_failure()->set_kind(v1::Failure::KIND_TRANSIENT);
  status.mutable_failure()->set_reason("WAITING_FOR_AGENT");
  status.mutable_failure()->set_message("the host no longer holds it: it was started anew");
  return status;
}

// What was seen on the host by an earlier session and is no longer held there, as after a
// reboot. Without this it would seem to be there until the agent has come to each.
void PutLost(const View& view, const HostRecord& host, const v1::Hello& hello,
             const SessionMoment& moment, Transaction* transaction) {
  std::set<std::string> held;
  for (const auto& machine : hello.held_virtual_machines()) held.insert(machine.uid());
  for (const auto& binding : hello.held_bindings()) held.insert(binding.uid());
  for (const std::string& name : host.virtual_machines) {
    const VirtualMachineRecord& machine = *view.FindVirtualMachine(name);
    const std::string& uid = machine.row.metadata().uid();
    if (!machine.observed.vm_instance().empty() && !held.contains(uid)) {
      v1::VirtualMachineResult gone;
      gone.set_uid(uid);
      storage::v1::VirtualMachineObservedRow row;
      row.set_uid(uid);
      *row.mutable_status() = ObserveMachine(gone);
      *row.mutable_events() = machine.events;
      transaction->puts.emplace_back(keys::VirtualMachineObserved(*VirtualMachineName::Parse(name)),
                                     row.SerializeAsString());
    }
    for (const std::string& binding_name : view.BindingsOf(name)) {
      const PasidBindingRecord binding = *view.FindPasidBinding(binding_name);
      if (binding.observed.programmed_generation() == 0) continue;
      if (held.contains(binding.row.metadata().uid())) continue;
      storage::v1::PasidBindingObservedRow row;
      row.set_uid(binding.row.metadata().uid());
      *row.mutable_status() = LostStatus(binding.observed);
      *row.mutable_events() = binding.events;
      AddBindingEvent(row.status(), FromTimestamp(binding.row.metadata().update_time()), moment,
                      row.mutable_events());
      transaction->puts.emplace_back(
          keys::PasidBindingObserved(*PasidBindingName::Parse(binding_name)),
          row.SerializeAsString());
    }
  }
}

void PutEvents(const HostRecord* host, const std::string& host_id,
               const std::vector<v1::TimelineEvent::Kind>& kinds, const SessionMoment& moment,
               Transaction* transaction) {
  storage::v1::HostEventsRow row;
  if (host != nullptr) *row.mutable_events() = host->events;
  for (const auto kind : kinds) AddHostEvent(kind, moment, row.mutable_events());
  transaction->puts.emplace_back(keys::HostEvents(host_id), row.SerializeAsString());
}

// A host of which nothing was observed has not been started anew.
bool IsRebooted(const HostRecord* host, const v1::Hello& hello) {
  if (host == nullptr || host->observed.status().boot_id().empty()) return false;
  return host->observed.status().boot_id() != hello.boot_id();
}

bool HoldsNothing(const v1::Hello& hello) {
  return hello.held_virtual_machines().empty() && hello.held_bindings().empty();
}

v1::HostStatus StatusOf(const v1::Hello& hello, int64_t epoch, absl::Time now) {
  v1::HostStatus status;
  status.set_state(v1::HostStatus::STATE_CONNECTED);
  status.set_agent_instance(hello.agent_instance());
  status.set_boot_id(hello.boot_id());
  status.set_agent_version(hello.agent_version());
  status.set_epoch(epoch);
  *status.mutable_last_seen_time() = ToTimestamp(now);
  return status;
}

void PutEpoch(const View& view, const std::string& host, int64_t epoch,
              const std::string& session_id, Transaction* transaction) {
  storage::v1::EpochRow row;
  row.set_epoch(epoch);
  row.set_session_id(session_id);
  transaction->compares.push_back(Compare::Unchanged(keys::Epoch(host), view.Epoch(host).revision));
  transaction->puts.emplace_back(keys::Epoch(host), row.SerializeAsString());
}

// The first Hello of a host that nobody declared.
void PutNewHost(const std::string& host, const std::string& uid, absl::Time now,
                Transaction* transaction) {
  storage::v1::HostRow row;
  row.mutable_metadata()->set_schema(1);
  row.mutable_metadata()->set_uid(uid);
  row.mutable_metadata()->set_generation(1);
  *row.mutable_metadata()->mutable_create_time() = ToTimestamp(now);
  *row.mutable_metadata()->mutable_update_time() = ToTimestamp(now);
  transaction->compares.push_back(Compare::Absent(keys::Host(host)));
  transaction->puts.emplace_back(keys::Host(host), row.SerializeAsString());
}

void PutDevices(const HostRecord* host, const std::string& host_id, const v1::Inventory& inventory,
                Transaction* transaction) {
  std::map<std::string, std::string> rows = DeviceRows(inventory);
  if (host != nullptr) {
    for (const auto& [bdf, status] : host->devices) {
      if (!rows.contains(bdf)) {
        transaction->deletes.push_back(keys::DeviceObserved(host_id, bdf));
      }
    }
  }
  for (auto& [bdf, row] : rows) {
    transaction->puts.emplace_back(keys::DeviceObserved(host_id, bdf), std::move(row));
  }
}

// The highest revision that this store can have told a host under `epoch`. An older epoch ended
// before the newest was written, the newest at the end of the run of the server that gave it.
int64_t LastRevisionTold(const View& view, const EpochRecord& newest, int64_t epoch) {
  return epoch < newest.epoch ? newest.revision : view.EndOfRun(newest.revision);
}

}  // namespace

std::string HostOf(const v1::Hello& hello) {
  auto name = HostName::Parse(hello.host());
  return name.ok() ? name->host : "";
}

absl::Status CheckInventory(const v1::Inventory& inventory, absl::string_view host) {
  for (const v1::Device& device : inventory.devices()) {
    auto name = DeviceName::Parse(device.name());
    if (!name.ok() || name->host != host) {
      return errors::ProtocolError(absl::StrCat("the inventory names ", Printable(device.name())));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckHello(const v1::Hello& hello) {
  const std::string host = HostOf(hello);
  if (host.empty()) return errors::ProtocolError("Hello names no valid host");
  if (hello.agent_instance().empty() || hello.boot_id().empty() || !hello.has_inventory()) {
    return errors::ProtocolError("Hello lacks agent_instance, boot_id or inventory");
  }
  return CheckInventory(hello.inventory(), host);
}

absl::Status CheckFence(const v1::Hello& hello, const View& view, const std::string& incarnation) {
  const v1::Fence& seen = hello.highest_seen();
  if (seen.incarnation().empty()) return absl::OkStatus();
  if (seen.incarnation() != incarnation) {
    return errors::Hold(hello.host(),
                        absl::StrCat("it holds what store ", Printable(seen.incarnation()),
                                     " told it, and this is store ", incarnation));
  }
  const EpochRecord newest = view.Epoch(HostOf(hello));
  if (seen.epoch() > newest.epoch) {
    return errors::Hold(hello.host(),
                        absl::StrCat("it has seen epoch ", seen.epoch(), " and this store gave it ",
                                     newest.epoch, ": the store was rolled back"));
  }
  const int64_t last = LastRevisionTold(view, newest, seen.epoch());
  if (seen.head_revision() > last) {
    return errors::Hold(
        hello.host(),
        absl::StrCat("under epoch ", seen.epoch(), " it has seen revision ", seen.head_revision(),
                     " and this store went up to ", last, " then: the store was rolled back"));
  }
  return absl::OkStatus();
}

HostClaim ClaimHost(const View& view, absl::Time now, const v1::Hello& hello,
                    const std::string& session_id, const std::string& host_uid) {
  const std::string host_id = HostOf(hello);
  const HostRecord* host = view.FindHost(host_id);
  HostClaim claim;
  claim.epoch = view.Epoch(host_id).epoch + 1;
  claim.status = StatusOf(hello, claim.epoch, now);
  PutEpoch(view, host_id, claim.epoch, session_id, &claim.transaction);
  if (host == nullptr) PutNewHost(host_id, host_uid, now, &claim.transaction);
  PutDevices(host, host_id, hello.inventory(), &claim.transaction);
  const SessionMoment moment{now, claim.epoch};
  if (host != nullptr) PutLost(view, *host, hello, moment, &claim.transaction);
  std::vector<v1::TimelineEvent::Kind> events = {IsRebooted(host, hello)
                                                     ? v1::TimelineEvent::KIND_HOST_REBOOTED
                                                     : v1::TimelineEvent::KIND_HOST_CONNECTED};
  if (const FenceRecord* fence = view.FindFence(host_id)) {
    claim.must_release = !HoldsNothing(hello);
    if (!claim.must_release) {
      claim.transaction.compares.push_back(
          Compare::Unchanged(keys::HostFence(host_id), fence->revision));
      claim.transaction.deletes.push_back(keys::HostFence(host_id));
      events.push_back(v1::TimelineEvent::KIND_HOST_UNFENCED);
    }
  }
  PutEvents(host, host_id, events, moment, &claim.transaction);
  storage::v1::HostObservedRow observed;
  *observed.mutable_status() = claim.status;
  claim.transaction.puts.emplace_back(keys::HostObserved(host_id), observed.SerializeAsString());
  return claim;
}

std::vector<std::string> ConnectedHosts(const View& view) {
  std::vector<std::string> hosts;
  for (const auto& [id, host] : view.hosts()) {
    if (host.observed.status().state() == v1::HostStatus::STATE_CONNECTED) hosts.push_back(id);
  }
  return hosts;
}

Transaction MarkHostUnknown(const View& view, absl::Time now, const std::string& host) {
  Transaction transaction;
  transaction.durability = Durability::kRelaxed;
  const HostRecord* record = view.FindHost(host);
  if (record == nullptr) return transaction;
  storage::v1::HostObservedRow row = record->observed;
  row.mutable_status()->set_state(v1::HostStatus::STATE_UNKNOWN);
  transaction.compares.push_back(Compare::Unchanged(keys::Epoch(host), view.Epoch(host).revision));
  transaction.puts.emplace_back(keys::HostObserved(host), row.SerializeAsString());
  PutEvents(record, host, {v1::TimelineEvent::KIND_HOST_SILENT}, {now, row.status().epoch()},
            &transaction);
  return transaction;
}

}  // namespace nestor::server
