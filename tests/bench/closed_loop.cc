#include "tests/bench/closed_loop.h"

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/time/clock.h"

namespace nestor::bench {
namespace {

// Shared by the threads on which calls end.
class Loop {
 public:
  Loop(absl::Duration duration, const StartCall& start)
      : start_(start), begin_(absl::Now() + duration / 10), end_(absl::Now() + duration) {}

  void Call() {
    const absl::Time started = absl::Now();
    start_([this, started](bool ok) { OnDone(started, ok); });
  }

  LoopResult Run(int in_flight) {
    running_ = in_flight;
    for (int i = 0; i < in_flight; ++i) Call();
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return running_ == 0; });
    if (latencies_.empty()) return result_;
    result_.calls = static_cast<int64_t>(latencies_.size());
    result_.rate = static_cast<double>(result_.calls) / absl::ToDoubleSeconds(last_ - begin_);
    result_.p50 = Percentile(latencies_, 0.5);
    result_.p99 = Percentile(latencies_, 0.99);
    return result_;
  }

 private:
  void OnDone(absl::Time started, bool ok) {
    const absl::Time now = absl::Now();
    {
      std::lock_guard lock(mutex_);
      if (!ok) ++result_.failures;
      if (now >= begin_) {
        latencies_.push_back(now - started);
        last_ = now;
      }
      if (now >= end_) {
        if (--running_ == 0) ended_.notify_all();
        return;
      }
    }
    Call();
  }

  const StartCall& start_;
  const absl::Time begin_;
  const absl::Time end_;
  std::mutex mutex_;
  std::condition_variable ended_;
  int running_ = 0;
  absl::Time last_;
  std::vector<absl::Duration> latencies_;
  LoopResult result_;
};

}  // namespace

LoopResult RunClosedLoop(int in_flight, absl::Duration duration, const StartCall& start) {
  return Loop(duration, start).Run(in_flight);
}

absl::Duration Percentile(std::vector<absl::Duration> samples, double share) {
  const auto at = static_cast<size_t>(share * static_cast<double>(samples.size() - 1));
  std::nth_element(samples.begin(), samples.begin() + static_cast<ptrdiff_t>(at), samples.end());
  return samples[at];
}

}  // namespace nestor::bench
