#include "server/core/binding_table.h"

#include <iterator>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace nestor::server {
namespace {

using BindingState = v1::PasidBindingStatus;

constexpr absl::string_view kCollection = "/pasidBindings/";

// Everything up to the last slash, and what follows it.
std::pair<absl::string_view, absl::string_view> Split(absl::string_view name) {
  const size_t id = name.rfind('/') + 1;  // 0 where there is no slash
  return {name.substr(0, id), name.substr(id)};
}

bool IsCurrent(const storage::v1::PasidBindingRow& row, const BindingState& observed) {
  return observed.observed_generation() == row.metadata().generation();
}

BindingState::State RungOf(const storage::v1::PasidBindingRow& row, const BindingState& observed) {
  if (row.metadata().has_delete_time()) return BindingState::STATE_DELETING;
  return IsCurrent(row, observed) ? observed.state() : BindingState::STATE_PERSISTED;
}

size_t HashOf(absl::string_view uid) { return absl::Hash<absl::string_view>()(uid); }

}  // namespace

bool PasidBindingRecord::IsCurrent() const { return nestor::server::IsCurrent(row, observed); }

BindingState::State PasidBindingRecord::Rung() const { return RungOf(row, observed); }

// Neither can fail: both parsed, or were made here, when they came in.
storage::v1::PasidBindingRow BindingTable::Entry::ReadRow() const {
  storage::v1::PasidBindingRow parsed;
  parsed.ParseFromString(row);
  return parsed;
}

storage::v1::PasidBindingObservedRow BindingTable::Entry::ReadObserved() const {
  storage::v1::PasidBindingObservedRow parsed;
  parsed.ParseFromString(observed);
  return parsed;
}

PasidBindingRecord BindingTable::Entry::Read() const {
  storage::v1::PasidBindingObservedRow of_it = ReadObserved();
  PasidBindingRecord record{ReadRow(), revision, std::move(*of_it.mutable_status()),
                            std::move(*of_it.mutable_events())};
  // Of an earlier generation it was observed on another host.
  if (record.observed.observed_generation() < record.row.placed_generation()) {
    record.observed.Clear();
  }
  return record;
}

bool BindingTable::UidEqual::operator()(const Entry* entry, const Uid& uid) const {
  return entry->uid_hash == uid.hash && entry->ReadRow().metadata().uid() == uid.text;
}

BindingTable::Machine* BindingTable::FindMachine(absl::string_view prefix) const {
  auto it = machines_.find(prefix);
  return it != machines_.end() ? it->second.get() : nullptr;
}

BindingTable::Entry* BindingTable::FindEntry(absl::string_view name) const {
  const auto [prefix, id] = Split(name);
  const Machine* machine = FindMachine(prefix);
  if (machine == nullptr) return nullptr;
  auto it = machine->bindings.find(id);
  return it != machine->bindings.end() ? it->get() : nullptr;
}

BindingTable::Entry& BindingTable::FindOrAdd(absl::string_view name) {
  const auto [prefix, id] = Split(name);
  Machine* machine = FindMachine(prefix);
  if (machine == nullptr) {
    auto added = std::make_unique<Machine>();
    added->prefix = std::string(prefix);
    machine = machines_.emplace(added->prefix, std::move(added)).first->second.get();
  }
  if (auto it = machine->bindings.find(id); it != machine->bindings.end()) return **it;
  auto entry = std::make_unique<Entry>();
  entry->machine = machine;
  entry->id = std::string(id);
  return **machine->bindings.insert(std::move(entry)).first;
}

void BindingTable::Put(absl::string_view name, int64_t revision, const std::string& stored_row,
                       const storage::v1::PasidBindingRow& row) {
  Entry& entry = FindOrAdd(name);
  if (entry.revision != 0) Unlink(entry);
  entry.revision = revision;
  entry.row = stored_row;
  entry.uid_hash = HashOf(row.metadata().uid());
  entry.rung = RungOf(row, entry.ReadObserved().status());
  ++entry.machine->counts[entry.rung];
  by_uid_.insert(&entry);
}

void BindingTable::Observe(absl::string_view name, storage::v1::PasidBindingObservedRow row) {
  Entry& entry = *FindEntry(name);
  --entry.machine->counts[entry.rung];
  row.clear_uid();
  entry.observed = row.SerializeAsString();
  entry.rung = RungOf(entry.ReadRow(), row.status());
  ++entry.machine->counts[entry.rung];
}

void BindingTable::Unlink(const Entry& entry) {
  --entry.machine->counts[entry.rung];
  by_uid_.erase(&entry);
}

void BindingTable::Erase(absl::string_view name) {
  const Entry* entry = FindEntry(name);
  if (entry == nullptr) return;
  Unlink(*entry);
  Machine& machine = *entry->machine;
  machine.bindings.erase(machine.bindings.find(absl::string_view(entry->id)));
  if (machine.bindings.empty()) machines_.erase(machines_.find(Split(name).first));
}

std::optional<PasidBindingRecord> BindingTable::Find(absl::string_view name) const {
  const Entry* entry = FindEntry(name);
  if (entry == nullptr) return std::nullopt;
  return entry->Read();
}

std::string BindingTable::NameOfUid(absl::string_view uid) const {
  auto it = by_uid_.find(Uid{HashOf(uid), uid});
  return it != by_uid_.end() ? absl::StrCat((*it)->machine->prefix, (*it)->id) : "";
}

std::vector<std::string> BindingTable::NamesOf(absl::string_view virtual_machine) const {
  std::vector<std::string> names;
  const Machine* machine = FindMachine(absl::StrCat(virtual_machine, kCollection));
  if (machine == nullptr) return names;
  names.reserve(machine->bindings.size());
  for (const auto& entry : machine->bindings) {
    names.push_back(absl::StrCat(machine->prefix, entry->id));
  }
  return names;
}

const BindingCounts* BindingTable::CountsOf(absl::string_view virtual_machine) const {
  const Machine* machine = FindMachine(absl::StrCat(virtual_machine, kCollection));
  return machine != nullptr ? &machine->counts : nullptr;
}

void BindingTable::VisitCounts(
    absl::FunctionRef<void(absl::string_view, const BindingCounts&)> visit) const {
  for (const auto& [prefix, machine] : machines_) {
    visit(absl::StripSuffix(prefix, kCollection), machine->counts);
  }
}

void BindingTable::Visit(absl::string_view from, Visitor visit) const {
  auto machine = machines_.upper_bound(from);
  // Names of the machine before may lie behind `from`, too, if they begin as it does.
  if (machine != machines_.begin() && absl::StartsWith(from, std::prev(machine)->first)) --machine;
  for (; machine != machines_.end(); ++machine) {
    const auto& [prefix, found] = *machine;
    const absl::string_view first =
        absl::StartsWith(from, prefix) ? from.substr(prefix.size()) : "";
    for (auto it = found->bindings.lower_bound(first); it != found->bindings.end(); ++it) {
      if (!visit(absl::StrCat(prefix, (*it)->id), [&] { return (*it)->Read(); })) return;
    }
  }
}

}  // namespace nestor::server
