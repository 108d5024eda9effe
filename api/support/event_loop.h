// One thread that runs posted functions in order, and others at a later time.
//
// State that is touched only from one loop needs no lock: gRPC reactions and other threads
// hand their work to it through this one queue.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "api/support/task_queue.h"

namespace nestor {

class EventLoop final : public TaskQueue {
 public:
  EventLoop();
  // Stops.
  ~EventLoop() override;

  // Dropped after Stop.
  void Post(Function function) override;
  void PostAfter(absl::Duration delay, Function function) override;
  // Lets the function that runs end, drops the rest, joins the thread. Idempotent; must not
  // be called on the loop.
  void Stop();

 private:
  using TimePoint = std::chrono::steady_clock::time_point;

  void Run();
  // Waits for the next function; false when stopped.
  bool Next(Function* function);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Function> ready_;
  std::multimap<TimePoint, Function> later_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace nestor
