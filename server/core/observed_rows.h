// What was observed on one host and waits to be written.
//
// Observed state is batched: while one write is in flight the next collects, and of each row
// only the newest version is kept. Pure: no clock, lock or I/O.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "nestor/v1/agent_service.pb.h"
#include "server/core/host_decision.h"
#include "server/core/timeline.h"
#include "server/core/view.h"
#include "server/store/store.h"

namespace nestor::server {

// A binding came to ACCEPTED, PROGRAMMED or FAILED for the first time of its generation.
struct ReachedRung {
  v1::PasidBindingStatus::State rung;
  google::protobuf::Timestamp asked_for;  // when its generation was
};

// Not thread-safe.
class ObservedRows {
 public:
  // `host` is an id; `inventory` is what Hello said, which is written already.
  ObservedRows(std::string host, const v1::Inventory& inventory);

  // Takes in what the agent answered at `moment`; returns which bindings came to which rung by
  // that. Answers for what the view no longer has are dropped.
  std::vector<ReachedRung> Add(const View& view, const HostEffects& effects,
                               const SessionMoment& moment);
  // A new inventory, checked: a device that it leaves out is gone.
  void AddInventory(const v1::Inventory& inventory);
  void AddHost(const v1::HostStatus& status);

  bool empty() const { return rows_.empty(); }
  // All that waits, as one unsynced transaction without compares. Empties this.
  Transaction Take();

 private:
  void AddMachine(const View& view, const v1::VirtualMachineResult& result);
  void AddBinding(const View& view, const v1::Result& result, const SessionMoment& moment,
                  std::vector<ReachedRung>* reached);
  // What is gone is purged; a row written after that would stay for ever.
  void Forget(const View& view, const HostEffects& effects);
  // The row that `result` adds to: the newest, waiting or in the view, with the time of a plain
  // ACCEPTED answer before it.
  storage::v1::PasidBindingObservedRow Before(const PasidBindingRecord& record,
                                              const std::string& key, const v1::Result& result);

  const std::string host_;
  std::set<std::string> devices_;                           // BDFs of the newest inventory
  std::map<std::string, std::optional<std::string>> rows_;  // key -> row, or deleted
  // When plain ACCEPTED answers came, which are not stored: uid -> (generation, time).
  absl::flat_hash_map<std::string, std::pair<int64_t, google::protobuf::Timestamp>> accepted_;
};

}  // namespace nestor::server
