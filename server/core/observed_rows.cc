#include "server/core/observed_rows.h"

#include "api/support/proto_time.h"
#include "api/support/resource_name.h"
#include "nestor/storage/v1/rows.pb.h"
#include "server/core/host_intent.h"
#include "server/core/keys.h"
#include "server/core/observation.h"

namespace nestor::server {
namespace {

bool IsFinal(v1::PasidBindingStatus::State state) {
  return state == v1::PasidBindingStatus::STATE_PROGRAMMED ||
         state == v1::PasidBindingStatus::STATE_FAILED;
}

}  // namespace

ObservedRows::ObservedRows(std::string host, const v1::Inventory& inventory)
    : host_(std::move(host)) {
  for (const v1::Device& device : inventory.devices()) {
    devices_.insert(DeviceName::Parse(device.name())->bdf);
  }
}

std::vector<ReachedRung> ObservedRows::Add(const View& view, const HostEffects& effects,
                                           const SessionMoment& moment) {
  std::vector<ReachedRung> reached;
  for (const v1::VirtualMachineResult& result : effects.observed_machines) {
    AddMachine(view, result);
  }
  for (const v1::Result& result : effects.observed_bindings) {
    AddBinding(view, result, moment, &reached);
  }
  Forget(view, effects);
  return reached;
}

void ObservedRows::AddMachine(const View& view, const v1::VirtualMachineResult& result) {
  auto name = VirtualMachineName::Parse(view.VirtualMachineByUid(result.uid()));
  // Of a machine that was moved away only its new host knows how it is.
  if (!name.ok() || HostOfResource(view, name->ToString()) != host_) return;
  storage::v1::VirtualMachineObservedRow row;
  row.set_uid(result.uid());
  *row.mutable_events() = view.FindVirtualMachine(name->ToString())->events;
  *row.mutable_status() = ObserveMachine(result);
  rows_[keys::VirtualMachineObserved(*name)] = row.SerializeAsString();
}

void ObservedRows::AddBinding(const View& view, const v1::Result& result,
                              const SessionMoment& moment, std::vector<ReachedRung>* reached) {
  const std::string name = view.PasidBindingByUid(result.uid());
  if (name.empty() || HostOfResource(view, name) != host_) return;
  const PasidBindingRecord record = *view.FindPasidBinding(name);
  const storage::v1::RowMetadata& metadata = record.row.metadata();
  const bool is_current = result.generation() == metadata.generation();
  if (!IsWorthStoring(result)) {
    accepted_[result.uid()] = {result.generation(), result.time()};
    if (is_current) {
      reached->push_back({v1::PasidBindingStatus::STATE_ACCEPTED, metadata.update_time()});
    }
    return;
  }
  const std::string key = keys::PasidBindingObserved(*PasidBindingName::Parse(name));
  storage::v1::PasidBindingObservedRow row = Before(record, key, result);
  row.set_uid(result.uid());
  const v1::PasidBindingStatus before = std::exchange(*row.mutable_status(), {});
  *row.mutable_status() = ObserveBinding(result, before);
  AddBindingEvent(row.status(), FromTimestamp(metadata.update_time()), moment,
                  row.mutable_events());
  if (const auto rung = row.status().state();
      is_current && IsFinal(rung) &&
      (before.observed_generation() != result.generation() || before.state() != rung)) {
    reached->push_back({rung, metadata.update_time()});
  }
  rows_[key] = row.SerializeAsString();
}

storage::v1::PasidBindingObservedRow ObservedRows::Before(const PasidBindingRecord& record,
                                                          const std::string& key,
                                                          const v1::Result& result) {
  storage::v1::PasidBindingObservedRow row;
  if (auto it = rows_.find(key); it != rows_.end() && it->second) {
    row.ParseFromString(*it->second);
  } else {
    *row.mutable_status() = record.observed;
    *row.mutable_events() = record.events;
  }
  auto accepted = accepted_.find(result.uid());
  if (accepted == accepted_.end()) return row;
  const auto [generation, time] = accepted->second;
  accepted_.erase(accepted);
  if (generation == result.generation() && row.status().observed_generation() != generation) {
    v1::PasidBindingStatus& before = *row.mutable_status();
    before.Clear();
    before.set_observed_generation(generation);
    *before.mutable_times()->mutable_accepted() = time;
  }
  return row;
}

void ObservedRows::Forget(const View& view, const HostEffects& effects) {
  for (const std::string& uid : effects.absent_bindings) {
    accepted_.erase(uid);
    auto name = PasidBindingName::Parse(view.PasidBindingByUid(uid));
    if (name.ok()) rows_.erase(keys::PasidBindingObserved(*name));
  }
  for (const auto& [uid, generation] : effects.absent_machines) {
    auto name = VirtualMachineName::Parse(view.VirtualMachineByUid(uid));
    if (name.ok()) rows_.erase(keys::VirtualMachineObserved(*name));
  }
}

void ObservedRows::AddInventory(const v1::Inventory& inventory) {
  for (const std::string& bdf : std::exchange(devices_, {})) {
    rows_[keys::DeviceObserved(host_, bdf)] = std::nullopt;
  }
  for (auto& [bdf, row] : DeviceRows(inventory)) {
    rows_[keys::DeviceObserved(host_, bdf)] = std::move(row);
    devices_.insert(bdf);
  }
}

void ObservedRows::AddHost(const v1::HostStatus& status) {
  storage::v1::HostObservedRow row;
  *row.mutable_status() = status;
  rows_[keys::HostObserved(host_)] = row.SerializeAsString();
}

Transaction ObservedRows::Take() {
  Transaction transaction;
  transaction.durability = Durability::kRelaxed;
  for (auto& [key, row] : std::exchange(rows_, {})) {
    if (row) {
      transaction.puts.emplace_back(key, *std::move(row));
    } else {
      transaction.deletes.push_back(key);
    }
  }
  return transaction;
}

}  // namespace nestor::server
