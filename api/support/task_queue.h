// Where a component that lives on one thread has its work queued: the port of EventLoop.
#pragma once

#include <functional>

#include "absl/time/time.h"

namespace nestor {

// Thread-safe. Functions run one at a time, must return quickly and must not wait for the queue.
class TaskQueue {
 public:
  using Function = std::function<void()>;

  virtual ~TaskQueue() = default;
  // Runs `function` after everything posted before.
  virtual void Post(Function function) = 0;
  // Runs `function` once `delay` has passed, whatever the wall clock does meanwhile.
  virtual void PostAfter(absl::Duration delay, Function function) = 0;
};

}  // namespace nestor
