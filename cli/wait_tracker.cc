#include "cli/wait_tracker.h"

#include <algorithm>

#include "cli/resource_table.h"

namespace nestor::cli {
namespace {

const std::string& NameOf(const v1::WatchResponse& event) {
  switch (event.resource_case()) {
    case v1::WatchResponse::kHost:
      return event.host().name();
    case v1::WatchResponse::kVirtualMachine:
      return event.virtual_machine().name();
    default:
      return event.pasid_binding().name();
  }
}

}  // namespace

void WaitTracker::Add(absl::string_view name, int64_t generation) {
  targets_[std::string(name)].generation = generation;
}

void WaitTracker::BeginSnapshot() {
  for (auto& [name, target] : targets_) target.in_snapshot = false;
}

void WaitTracker::Take(const v1::WatchResponse& event) {
  switch (event.type()) {
    case v1::WatchResponse::TYPE_PUT:
      return TakePut(NameOf(event), event.has_pasid_binding() ? &event.pasid_binding() : nullptr);
    case v1::WatchResponse::TYPE_DELETED: {
      auto target = targets_.find(NameOf(event));
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
  target.standing = Standing::kWaiting;
  target.state = "present";
  if (binding == nullptr) return;
  target.state = BindingStateText(*binding);
  if (goal_ == Goal::kProgrammed) target.standing = Judge(target, *binding);
}

void WaitTracker::TakeGone(Target* target) {
  target->standing = goal_ == Goal::kAbsent ? Standing::kReached : Standing::kFailed;
  target->state = "does not exist";
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

WaitProgress WaitTracker::Progress() const {
  WaitProgress progress;
  progress.total = static_cast<int>(targets_.size());
  for (const auto& [name, target] : targets_) {
    if (target.standing == Standing::kReached) ++progress.reached;
    if (target.standing == Standing::kFailed) ++progress.failed;
  }
  return progress;
}

std::vector<WaitTracker::Unmet> WaitTracker::NotReached() const {
  std::vector<Unmet> unmet;
  for (const auto& [name, target] : targets_) {
    if (target.standing == Standing::kReached) continue;
    unmet.push_back({name, target.state, target.standing == Standing::kFailed});
  }
  std::stable_partition(unmet.begin(), unmet.end(), [](const Unmet& one) { return one.failed; });
  return unmet;
}

}  // namespace nestor::cli
