#include "agent/shim/worker_pool.h"

#include <utility>

namespace nestor::agent {

WorkerPool::WorkerPool(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

WorkerPool::~WorkerPool() { Stop(); }

void WorkerPool::Post(std::function<void()> function) {
  {
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    ready_.push_back(std::move(function));
  }
  changed_.notify_one();
}

void WorkerPool::Stop() {
  std::deque<std::function<void()>> dropped;
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    dropped.swap(ready_);
  }
  changed_.notify_all();
  // Outside the lock, since what the functions hold may post once more.
  dropped.clear();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void WorkerPool::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopped_ || !ready_.empty(); });
    if (stopped_) return;
    std::function<void()> function = std::move(ready_.front());
    ready_.pop_front();
    lock.unlock();
    function();
    function = nullptr;
    lock.lock();
  }
}

}  // namespace nestor::agent
