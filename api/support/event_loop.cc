#include "api/support/event_loop.h"

namespace nestor {

EventLoop::EventLoop() : thread_([this] { Run(); }) {}

EventLoop::~EventLoop() { Stop(); }

void EventLoop::Post(Function function) {
  {
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    ready_.push_back(std::move(function));
  }
  changed_.notify_one();
}

void EventLoop::PostAfter(absl::Duration delay, Function function) {
  const TimePoint when = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(delay);
  {
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    later_.emplace(when, std::move(function));
  }
  changed_.notify_one();
}

void EventLoop::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
  // Declared before the lock, so destroyed after it: what they hold may post once more.
  std::deque<Function> ready;
  std::multimap<TimePoint, Function> later;
  std::lock_guard lock(mutex_);
  ready.swap(ready_);
  later.swap(later_);
}

void EventLoop::Run() {
  Function function;
  while (Next(&function)) {
    function();
    function = nullptr;
  }
}

bool EventLoop::Next(Function* function) {
  std::unique_lock lock(mutex_);
  while (!stopped_) {
    const TimePoint now = std::chrono::steady_clock::now();
    while (!later_.empty() && later_.begin()->first <= now) {
      ready_.push_back(std::move(later_.begin()->second));
      later_.erase(later_.begin());
    }
    if (!ready_.empty()) {
      *function = std::move(ready_.front());
      ready_.pop_front();
      return true;
    }
    if (later_.empty()) {
      changed_.wait(lock);
    } else {
      changed_.wait_until(lock, later_.begin()->first);
    }
  }
  return false;
}

}  // namespace nestor
