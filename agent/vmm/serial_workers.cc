#include "agent/vmm/serial_workers.h"

#include <utility>

namespace nestor::agent {

SerialWorkers::SerialWorkers(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

SerialWorkers::~SerialWorkers() { Stop(); }

void SerialWorkers::Post(const std::string& key, Task task) {
  const std::lock_guard lock(mutex_);
  if (stopped_) return;
  const auto [queue, is_new] = tasks_.try_emplace(key);
  queue->second.push_back(std::move(task));
  if (!is_new) return;
  waiting_.push_back(key);
  changed_.notify_one();
}

void SerialWorkers::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void SerialWorkers::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopped_ || !waiting_.empty(); });
    if (stopped_) return;
    const std::string key = std::move(waiting_.front());
    waiting_.pop_front();
    std::deque<Task>& queue = tasks_[key];
    Task task = std::move(queue.front());
    lock.unlock();
    task();
    task = nullptr;  // what it holds may take time to go
    lock.lock();
    queue.pop_front();
    if (queue.empty()) {
      tasks_.erase(key);
    } else {
      waiting_.push_back(key);
      changed_.notify_one();
    }
  }
}

}  // namespace nestor::agent
