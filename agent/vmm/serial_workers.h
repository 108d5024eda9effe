// A few threads that many connections share.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace nestor::agent {

// Runs the tasks of one key in order and one at a time, so that a key whose tasks block
// holds one thread at most; keys with work take turns. The caller bounds what is queued.
// Thread-safe.
class SerialWorkers {
 public:
  using Task = std::function<void()>;

  explicit SerialWorkers(int threads);
  // Stops.
  ~SerialWorkers();

  // After Stop the task is dropped.
  void Post(const std::string& key, Task task);
  // Lets tasks that run end, drops the rest, joins the threads. Idempotent; must not be
  // called by a task.
  void Stop();

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::deque<Task>> tasks_;  // of the keys that wait or run
  std::deque<std::string> waiting_;                // keys with tasks of which none runs
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace nestor::agent
