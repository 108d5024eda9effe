#include "cli/wait_tracker.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/resource_table.h"
#include "cli/watch_event.h"

namespace nestor::cli {
namespace {

// `name` without its last collection and id: a binding's machine, a machine's project.
std::string ParentOf(const std::string& name) {
  const size_t id = name.rfind('/');
  if (id == std::string::npos || id == 0) return "";
  const size_t collection = name.rfind('/', id - 1);
  return collection == std::string::npos ? "" : name.substr(0, collection);
}

bool Covers(const std::string& parent, const std::string& name) {
  return parent.empty() || name == parent || absl::StartsWith(name, absl::StrCat(parent, "/"));
}

}  // namespace

void WaitTracker::Add(absl::string_view name, int64_t generation) {
  auto [target, added] = targets_.try_emplace(std::string(name));
  if (!added) return;
  target->second.generation = generation;
  ++progress_.total;
}

void WaitTracker::BeginSnapshot() {
  for (auto& [name, target] : targets_) target.in_snapshot = false;
}

void WaitTracker::Take(const v1::WatchResponse& event) {
  switch (event.type()) {
    case v1::WatchResponse::TYPE_PUT:
      return TakePut(EventName(event),
                     event.has_pasid_binding() ? &event.pasid_binding() : nullptr);
    case v1::WatchResponse::TYPE_DELETED: {
      auto target = targets_.find(EventName(event));
      if (target != targets_.end()) TakeGone(&target->second);
      return;
    }
    case v1::WatchResponse::TYPE_SYNCED:
      for (auto& [name, target] : targets_) {
        if (!target.in_snapshot) TakeGone(&target);
      }
      return;
    default:
      return;
  }
}

void WaitTracker::TakePut(absl::string_view name, const v1::PasidBinding* binding) {
  auto found = targets_.find(std::string(name));
  if (found == targets_.end()) return;
  Target& target = found->second;
  target.in_snapshot = true;
  if (binding == nullptr) return SetStanding(&target, Standing::kWaiting, "present");
  SetStanding(&target, goal_ == Goal::kProgrammed ? Judge(target, *binding) : Standing::kWaiting,
              BindingStateText(*binding));
}

void WaitTracker::TakeGone(Target* target) {
  SetStanding(target, goal_ == Goal::kAbsent ? Standing::kReached : Standing::kMissing,
              "does not exist");
}

void WaitTracker::SetStanding(Target* target, Standing standing, std::string state) {
  progress_.done += (standing == Standing::kReached) - (target->standing == Standing::kReached);
  progress_.failed += HasFailed(standing) - HasFailed(target->standing);
  target->standing = standing;
  target->state = std::move(state);
}

WaitTracker::Standing WaitTracker::Judge(const Target& target,
                                         const v1::PasidBinding& binding) const {
  const v1::PasidBindingStatus& status = binding.status();
  if (binding.metadata().has_delete_time()) return Standing::kFailed;
  const int64_t wanted = std::max(target.generation, binding.metadata().generation());
  if (status.observed_generation() < wanted) return Standing::kWaiting;
  if (status.state() == v1::PasidBindingStatus::STATE_PROGRAMMED) return Standing::kReached;
  const bool permanent = status.state() == v1::PasidBindingStatus::STATE_FAILED &&
                         status.failure().kind() == v1::Failure::KIND_PERMANENT;
  return permanent ? Standing::kFailed : Standing::kWaiting;
}

std::vector<WaitTracker::Unmet> WaitTracker::NotReached() const {
  std::vector<Unmet> unmet;
  for (const auto& [name, target] : targets_) {
    if (target.standing == Standing::kReached) continue;
    unmet.push_back(
        {name, target.state, HasFailed(target.standing), target.standing == Standing::kMissing});
  }
  std::stable_partition(unmet.begin(), unmet.end(), [](const Unmet& one) { return one.failed; });
  return unmet;
}

std::string WaitTracker::WatchParent() const {
  if (targets_.empty()) return "";
  // A Watch has no room for a single binding.
  std::string parent = targets_.begin()->first;
  if (absl::StrContains(parent, "/pasidBindings/")) parent = ParentOf(parent);
  for (const auto& [name, target] : targets_) {
    while (!Covers(parent, name)) parent = ParentOf(parent);
  }
  return parent;
}

}  // namespace nestor::cli
