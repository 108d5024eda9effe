#include "server/store/watch_hub.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "api/support/errors.h"

namespace nestor::server {
namespace {

// Bounds the copy that one callback gets; a single commit may exceed it.
constexpr size_t kEventsPerCallback = 1000;

}  // namespace

// Its handle owns it; the hub owns it too only while it calls back.
class WatchHub::Watcher {
 public:
  Watcher(int64_t after, WatchCallback callback) : seen(after), callback_(std::move(callback)) {}

  // False: stopped, and never called again.
  bool Notify(const std::vector<StoreEvent>& events) {
    std::lock_guard lock(calling_);
    if (!stopped_) callback_(events);
    return !stopped_;
  }

  // Waits for a callback that runs on another thread.
  void Stop() {
    std::lock_guard lock(calling_);
    stopped_ = true;
  }

  int64_t seen;  // the newest revision that needs no delivery; guarded by the hub's mutex

 private:
  std::recursive_mutex calling_;  // recursive: a callback may destroy its own handle
  bool stopped_ = false;
  const WatchCallback callback_;
};

class WatchHub::Handle final : public WatchHandle {
 public:
  explicit Handle(std::shared_ptr<Watcher> watcher) : watcher_(std::move(watcher)) {}
  ~Handle() override { watcher_->Stop(); }

 private:
  const std::shared_ptr<Watcher> watcher_;
};

WatchHub::WatchHub(WatchHistoryLimits limits, int64_t head) : limits_(limits), compacted_(head) {}

void WatchHub::Append(int64_t revision, std::vector<StoreEvent> events, absl::Time now) {
  std::lock_guard lock(mutex_);
  history_events_ += events.size();
  history_.push_back(
      {revision, now, std::make_shared<const std::vector<StoreEvent>>(std::move(events))});
}

void WatchHub::Deliver() {
  for (const std::shared_ptr<Watcher>& watcher : LiveWatchers()) {
    while (true) {
      const auto events = NextEvents(*watcher);
      if (events == nullptr || !watcher->Notify(*events)) break;
    }
  }
  Forget();
}

void WatchHub::Forget() {
  std::lock_guard lock(mutex_);
  // A watch that began during this Deliver() has yet to see its history.
  int64_t needed_above = std::numeric_limits<int64_t>::max();
  for (const std::weak_ptr<Watcher>& entry : watchers_) {
    if (const auto watcher = entry.lock()) needed_above = std::min(needed_above, watcher->seen);
  }
  while (history_.size() > 1 && history_.front().revision <= needed_above &&
         (history_events_ > limits_.max_events ||
          history_.back().time - history_.front().time > limits_.max_age)) {
    history_events_ -= history_.front().events->size();
    compacted_ = history_.front().revision;
    history_.pop_front();
  }
}

std::vector<std::shared_ptr<WatchHub::Watcher>> WatchHub::LiveWatchers() {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Watcher>> live;
  std::erase_if(watchers_, [&live](const std::weak_ptr<Watcher>& entry) {
    std::shared_ptr<Watcher> watcher = entry.lock();
    if (watcher == nullptr) return true;
    live.push_back(std::move(watcher));
    return false;
  });
  return live;
}

std::shared_ptr<const std::vector<StoreEvent>> WatchHub::NextEvents(Watcher& watcher) {
  std::lock_guard lock(mutex_);
  auto commit = std::upper_bound(
      history_.begin(), history_.end(), watcher.seen,
      [](int64_t seen, const Commit& candidate) { return seen < candidate.revision; });
  if (commit == history_.end()) return nullptr;
  // One commit alone, as a large one always is, needs no copy.
  const bool alone =
      std::next(commit) == history_.end() || commit->events->size() >= kEventsPerCallback;
  if (alone) {
    watcher.seen = commit->revision;
    return commit->events;
  }
  auto events = std::make_shared<std::vector<StoreEvent>>();
  for (; commit != history_.end() && events->size() < kEventsPerCallback; ++commit) {
    events->insert(events->end(), commit->events->begin(), commit->events->end());
    watcher.seen = commit->revision;
  }
  return events;
}

absl::StatusOr<std::unique_ptr<WatchHandle>> WatchHub::Watch(int64_t after,
                                                             WatchCallback callback) {
  std::lock_guard lock(mutex_);
  if (after < compacted_) return errors::RevisionCompacted(after, compacted_);
  auto watcher = std::make_shared<Watcher>(after, std::move(callback));
  watchers_.push_back(watcher);
  return std::make_unique<Handle>(std::move(watcher));
}

}  // namespace nestor::server
