#include "tests/simulation/process.h"

#include <algorithm>

namespace nestor::simulation {

void Process::Kill() {
  if (life_ != nullptr) life_->over = true;
  life_.reset();
}

void Process::PostAfter(absl::Duration delay, Function function) {
  if (life_ == nullptr) return;
  scheduler_.After(delay, [&scheduler = scheduler_, weak = std::weak_ptr(life_),
                           function = std::move(function)]() mutable {
    if (const auto life = weak.lock()) Run(scheduler, *life, std::move(function));
  });
}

void Process::Run(Scheduler& scheduler, Life& life, Function function) {
  if (scheduler.Now() < life.runs_again || !life.due.empty()) {
    life.due.push_back(std::move(function));
  } else {
    function();
  }
}

void Process::Pause(absl::Duration duration) {
  life_->runs_again = std::max(life_->runs_again, scheduler_.Now() + duration);
  scheduler_.After(duration, [&scheduler = scheduler_, weak = std::weak_ptr(life_)] {
    const auto life = weak.lock();
    if (life == nullptr || scheduler.Now() < life->runs_again) return;
    for (Function& function : std::exchange(life->due, {})) {
      if (!life->over) function();
    }
  });
}

}  // namespace nestor::simulation
