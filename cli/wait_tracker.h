// How far a set of resources is on the way to a wanted state, told by the events of a Watch.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cli/progress_line.h"
#include "nestor/v1/resources.pb.h"
#include "nestor/v1/watch_service.pb.h"

namespace nestor::cli {

// What is waited for.
enum class Goal { kProgrammed, kAbsent };

// Not thread-safe.
class WaitTracker {
 public:
  explicit WaitTracker(Goal goal) : goal_(goal) {}

  // Waits for the resource `name` too, unless it was added before. For kProgrammed it is a binding,
  // and generations below `generation` do not count; 0: its present one counts.
  void Add(absl::string_view name, int64_t generation = 0);

  // A new Watch begins with a snapshot: what it does not show is gone.
  void BeginSnapshot();
  // Takes in one message of the Watch.
  void Take(const v1::WatchResponse& event);

  Goal goal() const { return goal_; }
  const Progress& progress() const { return progress_; }

  // A resource that has not reached the goal.
  struct Unmet {
    std::string name;
    // Where it stands, as in tables; "not seen" before the snapshot showed it.
    std::string state;
    bool failed = false;
    // It was wanted programmed and does not exist; counts as failed too.
    bool missing = false;
  };
  // In order of name, failed ones first.
  std::vector<Unmet> NotReached() const;

  // The narrowest `parent` of a WatchRequest that shows all that is waited for.
  std::string WatchParent() const;

 private:
  enum class Standing { kWaiting, kReached, kFailed, kMissing };
  struct Target {
    int64_t generation = 0;
    Standing standing = Standing::kWaiting;
    std::string state = "not seen";
    bool in_snapshot = false;
  };

  static bool HasFailed(Standing standing) {
    return standing == Standing::kFailed || standing == Standing::kMissing;
  }
  void TakePut(absl::string_view name, const v1::PasidBinding* binding);
  void TakeGone(Target* target);
  void SetStanding(Target* target, Standing standing, std::string state);
  Standing Judge(const Target& target, const v1::PasidBinding& binding) const;

  const Goal goal_;
  std::map<std::string, Target> targets_;
  Progress progress_;
};

}  // namespace nestor::cli
