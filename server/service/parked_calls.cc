#include "server/service/parked_calls.h"

#include <utility>

namespace nestor::server {

int64_t ParkedCalls::Add(std::function<void()> end) {
  std::lock_guard lock(mutex_);
  if (ended_) return 0;
  calls_.emplace(next_ticket_, std::move(end));
  return next_ticket_++;
}

void ParkedCalls::Remove(int64_t ticket) {
  std::lock_guard lock(mutex_);
  calls_.erase(ticket);
}

void ParkedCalls::EndAll() {
  std::map<int64_t, std::function<void()>> calls;
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
    calls.swap(calls_);
  }
  // Outside the lock: an ending call removes itself.
  for (auto& [ticket, end] : calls) end();
}

}  // namespace nestor::server
