// A fixed number of threads that run posted functions.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace nestor::agent {

// Starts functions in the order in which they were posted. Thread-safe.
class WorkerPool {
 public:
  explicit WorkerPool(int threads);
  // Stops.
  ~WorkerPool();

  // After Stop, the function is dropped.
  void Post(std::function<void()> function);
  // Lets the functions that run end, drops the rest, joins the threads. Idempotent; must
  // not be called on one of them.
  void Stop();

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> ready_;
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace nestor::agent
