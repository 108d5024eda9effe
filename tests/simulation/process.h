// A simulated operating system process: what it has queued dies with it, and waits while it is
// stopped.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "api/support/task_queue.h"
#include "tests/simulation/scheduler.h"

namespace nestor::simulation {

class Process final : public TaskQueue {
 public:
  explicit Process(Scheduler& scheduler) : scheduler_(scheduler) {}
  ~Process() override { Kill(); }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void Post(Function function) override { PostAfter(absl::ZeroDuration(), std::move(function)); }
  void PostAfter(absl::Duration delay, Function function) override;

  // Expires with the process.
  std::weak_ptr<void> weak() const { return life_; }
  // As kill -9: nothing that was posted happens any more.
  void Kill();
  // As SIGSTOP, with SIGCONT after `duration`: what is due meanwhile happens then, in order.
  void Pause(absl::Duration duration);

 private:
  struct Life {
    absl::Time runs_again = absl::InfinitePast();
    std::vector<Function> due;  // while it is stopped
    bool over = false;
  };
  static void Run(Scheduler& scheduler, Life& life, Function function);

  Scheduler& scheduler_;
  std::shared_ptr<Life> life_ = std::make_shared<Life>();
};

}  // namespace nestor::simulation
