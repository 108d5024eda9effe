// All PASID bindings of the store, in little memory.
//
// Rows are kept as they are stored and parsed when they are read: parsed messages take several
// times as much. Bindings lie under their machine, so that a name costs no more than the
// binding's id, and comparing names does not begin with what they all have in common.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "nestor/storage/v1/rows.pb.h"
#include "nestor/v1/resources.pb.h"

namespace nestor::server {

struct PasidBindingRecord {
  storage::v1::PasidBindingRow row;
  int64_t revision = 0;  // mod_revision of the row; 0: not yet stored
  v1::PasidBindingStatus observed;
  google::protobuf::RepeatedPtrField<v1::TimelineEvent> events;  // observed, oldest first

  // Whether what is observed is of the row's generation.
  bool IsCurrent() const;
  // The state that it shows while its host is not silent.
  v1::PasidBindingStatus::State Rung() const;
};

// How many bindings are in each v1::PasidBindingStatus::State.
using BindingCounts = std::array<int64_t, v1::PasidBindingStatus::State_ARRAYSIZE>;

// Not thread-safe.
class BindingTable {
 public:
  // Told of bindings in order of their names; `read` parses the one it is called for. False:
  // enough.
  using Visitor = absl::FunctionRef<bool(const std::string& name,
                                         absl::FunctionRef<PasidBindingRecord()> read)>;

  BindingTable() = default;
  BindingTable(const BindingTable&) = delete;
  BindingTable& operator=(const BindingTable&) = delete;

  // Takes in the binding's row of that revision, which `row` is the parsed form of. What was
  // observed of it stays.
  void Put(absl::string_view name, int64_t revision, const std::string& stored_row,
           const storage::v1::PasidBindingRow& row);
  // What is observed of a binding that is there.
  void Observe(absl::string_view name, storage::v1::PasidBindingObservedRow row);
  void Erase(absl::string_view name);

  bool Contains(absl::string_view name) const { return FindEntry(name) != nullptr; }
  std::optional<PasidBindingRecord> Find(absl::string_view name) const;
  // Its name; empty where there is none.
  std::string NameOfUid(absl::string_view uid) const;
  // Names of a machine's bindings, in order.
  std::vector<std::string> NamesOf(absl::string_view virtual_machine) const;
  // By the rungs of the machine's bindings; null where it has none.
  const BindingCounts* CountsOf(absl::string_view virtual_machine) const;
  void VisitCounts(
      absl::FunctionRef<void(absl::string_view virtual_machine, const BindingCounts& counts)> visit)
      const;

  bool empty() const { return machines_.empty(); }
  // Visits those from `from` on, in bytewise order of names.
  void Visit(absl::string_view from, Visitor visit) const;

 private:
  struct Machine;

  struct Entry {
    Machine* machine = nullptr;
    size_t uid_hash = 0;
    int64_t revision = 0;
    v1::PasidBindingStatus::State rung = v1::PasidBindingStatus::STATE_UNSPECIFIED;
    std::string id;
    std::string row;       // storage::v1::PasidBindingRow
    std::string observed;  // storage::v1::PasidBindingObservedRow, without the uid

    storage::v1::PasidBindingRow ReadRow() const;
    storage::v1::PasidBindingObservedRow ReadObserved() const;
    PasidBindingRecord Read() const;
  };

  // Transparent, by id.
  struct ById {
    using is_transparent = void;
    static absl::string_view Of(const std::unique_ptr<Entry>& entry) { return entry->id; }
    static absl::string_view Of(absl::string_view id) { return id; }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return Of(a) < Of(b);
    }
  };

  struct Machine {
    std::string
        prefix;  // of its bindings' names: "projects/{p}/virtualMachines/{v}/pasidBindings/"
    BindingCounts counts{};
    absl::btree_set<std::unique_ptr<Entry>, ById> bindings;
  };

  // A uid is known by its hash, until one is looked up: then it is compared with the row's.
  struct Uid {
    size_t hash;
    absl::string_view text;
  };
  struct UidHash {
    using is_transparent = void;
    size_t operator()(const Entry* entry) const { return entry->uid_hash; }
    size_t operator()(const Uid& uid) const { return uid.hash; }
  };
  struct UidEqual {
    using is_transparent = void;
    bool operator()(const Entry* a, const Entry* b) const { return a == b; }
    bool operator()(const Entry* entry, const Uid& uid) const;
  };

  Machine* FindMachine(absl::string_view prefix) const;
  Entry* FindEntry(absl::string_view name) const;
  Entry& FindOrAdd(absl::string_view name);
  // Takes it out of the counts and the index of uids.
  void Unlink(const Entry& entry);

  // By prefix. One slash ends each prefix and no id has any, so this order and then that of ids
  // is the order of whole names.
  absl::btree_map<std::string, std::unique_ptr<Machine>> machines_;
  absl::flat_hash_set<const Entry*, UidHash, UidEqual> by_uid_;
};

}  // namespace nestor::server
