// One group of transactions on its way to becoming one write.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/store/row_format.h"
#include "server/store/row_reader.h"
#include "server/store/store.h"

namespace nestor::server {

// A committed transaction as watchers see it.
struct CommittedTransaction {
  int64_t revision;
  std::vector<StoreEvent> events;
};

// Judges transactions in order, each against the database and the group's members before
// it, and collects what they write. Not thread-safe; one group's life is one write.
class CommitGroup {
 public:
  // `head`: as stored. `reader` must outlive the group, and nothing else may write.
  CommitGroup(const RowReader& reader, const StoreHead& head) : reader_(reader), head_(head) {}

  // The revision that `transaction` gets if the group is written. ABORTED, or an error of
  // the reader: it is no part of the group.
  absl::StatusOr<int64_t> Add(Transaction transaction);

  // A stored key with its new row; no row: deleted. In the order in which to write them.
  struct Write {
    std::string stored_key;
    std::string row;
    bool deleted;
  };
  const std::vector<Write>& writes() const { return writes_; }
  bool empty() const { return writes_.empty(); }
  // Members that write.
  size_t transactions() const { return committed_.size(); }
  // Whether any member that writes asked for it.
  bool synced() const { return synced_; }
  // The head once the group is written.
  const StoreHead& head() const { return head_; }
  // Leaves the group without them.
  std::vector<CommittedTransaction> TakeCommitted() { return std::move(committed_); }

 private:
  // What the group knows of a key: as stored, or as a member before left it.
  struct KeyState {
    int64_t revision = 0;  // 0: absent
    uint32_t checksum = 0;
  };

  absl::Status LoadState(absl::string_view key);
  absl::Status LoadStates(const Transaction& transaction);
  absl::Status Check(const Compare& compare);
  absl::Status CheckUnchanged(const Compare& compare);
  absl::Status CheckRangeUnchanged(const Compare& compare);
  void Put(std::string key, std::string value, CommittedTransaction& commit);
  void Delete(std::string key, CommittedTransaction& commit);
  void CountOut(const KeyState& state);

  const RowReader& reader_;
  StoreHead head_;
  bool synced_ = false;
  absl::flat_hash_map<std::string, KeyState> states_;
  std::vector<Write> writes_;
  std::vector<CommittedTransaction> committed_;
};

}  // namespace nestor::server
