// A store on a disk that can forget what was not synced, and be copied back.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/store/store.h"
#include "tests/simulation/process.h"
#include "tests/simulation/scheduler.h"

namespace nestor::simulation {

// What is on a disk. It outlives the processes that write it.
class SimulatedDisk {
 public:
  struct Content {
    std::map<std::string, server::KeyValue> rows;
    int64_t revision = 0;
  };

  explicit SimulatedDisk(std::string incarnation) : incarnation_(std::move(incarnation)) {}

  const std::string& incarnation() const { return incarnation_; }
  const Content& content() const { return content_; }

  // Writes a commit that is in the operating system's memory only; its revision.
  int64_t Write(const server::Transaction& transaction);
  // All that is written is on stable storage.
  void Sync() { unsynced_.clear(); }
  // What was not synced is gone.
  void CutPower();
  // As an administrator who copies an old directory back.
  void Restore(Content content);

 private:
  struct Undo {
    std::string key;
    std::optional<server::KeyValue> before;
    int64_t revision_before = 0;
  };
  void Remember(const std::string& key);

  const std::string incarnation_;
  Content content_;
  std::vector<Undo> unsynced_;
};

// Ways in which this store is made wrong, for runs that must notice.
struct StoreFlaws {
  bool answers_before_sync = false;
  bool ignores_compares = false;
};

// A process's open store. All happens on the scheduler's thread; batches are written and
// synced together, as by a commit thread.
class SimulatedStore final : public server::Store {
 public:
  // Sees each commit that is about to be written, e.g. to judge it.
  using Observer = std::function<void(const server::Transaction& transaction)>;

  // All references must outlive it. `process` is the one that has it open.
  SimulatedStore(Scheduler& scheduler, Process& process, SimulatedDisk& disk, StoreFlaws flaws,
                 Observer observer);
  ~SimulatedStore() override { Close(); }

  // Answers what is queued with UNAVAILABLE, written or not, and takes nothing more.
  void Close();
  // As the process that opens it does before it goes on: written and synced at once.
  void CommitAtStart(const server::Transaction& transaction);

  void Commit(server::Transaction transaction, CommitCallback done) override;
  absl::StatusOr<std::vector<server::KeyValue>> Range(absl::string_view begin,
                                                      absl::string_view end, size_t limit) override;
  int64_t HeadRevision() const override { return shown_revision_; }
  int64_t SyncedRevision() const override { return synced_revision_; }
  std::string Incarnation() const override { return disk_.incarnation(); }
  absl::StatusOr<std::unique_ptr<server::WatchHandle>> Watch(
      int64_t after, server::WatchCallback callback) override;

 private:
  using Watches = std::map<int64_t, server::WatchCallback>;
  class Handle;
  struct Queued {
    server::Transaction transaction;
    CommitCallback done;
  };
  struct Answer {
    CommitCallback done;
    absl::StatusOr<int64_t> revision;
  };
  // Written and not yet shown to anybody.
  struct Group {
    std::vector<server::StoreEvent> events;
    std::vector<Answer> answers;
    bool synced = false;
  };

  void WriteGroup();
  absl::StatusOr<int64_t> WriteOne(const server::Transaction& transaction, Group* group);
  absl::Status CheckCompares(const server::Transaction& transaction) const;
  void Tell(const std::shared_ptr<Group>& group);

  Scheduler& scheduler_;
  Process& process_;
  SimulatedDisk& disk_;
  const StoreFlaws flaws_;
  const Observer observer_;
  bool closed_ = false;
  bool writing_ = false;
  std::deque<Queued> queue_;
  std::shared_ptr<Group> group_;
  int64_t shown_revision_ = 0;
  int64_t synced_revision_ = 0;
  int64_t next_watch_ = 0;
  const std::shared_ptr<Watches> watches_ = std::make_shared<Watches>();
};

}  // namespace nestor::simulation
