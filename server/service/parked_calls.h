// Calls that wait for something to happen, without a thread: so that a draining server can
// end them all.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>

namespace nestor::server {

// Thread-safe.
class ParkedCalls {
 public:
  // Remembers how to end a call; returns its ticket, or 0 when the server drains: then the
  // call must end at once. `end` may run on any thread, at most once.
  int64_t Add(std::function<void()> end);
  // The call has ended.
  void Remove(int64_t ticket);
  // Ends every call and refuses new ones.
  void EndAll();

 private:
  std::mutex mutex_;
  std::map<int64_t, std::function<void()>> calls_;
  int64_t next_ticket_ = 1;
  bool ended_ = false;
};

}  // namespace nestor::server
