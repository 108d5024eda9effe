// One thread that says when descriptors are ready.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/status/statusor.h"
#include "api/support/file_descriptor.h"

namespace nestor::agent {

// Each descriptor is armed for one event at a time, so its owner decides when to hear of
// it again. Thread-safe, but for Stop.
class EpollLoop {
 public:
  // Runs on the loop's thread and must return quickly.
  using Handler = std::function<void()>;
  using Id = uint64_t;

  static absl::StatusOr<std::unique_ptr<EpollLoop>> Start();
  // Stops.
  ~EpollLoop();

  // Adds `fd`, not yet armed; it must stay open until Remove. Hang-ups and errors count as
  // events of every kind.
  Id Add(int fd, Handler handler);
  // Has the handler called once, when `fd` has one of `events` (EPOLLIN, EPOLLOUT).
  // Ignored after Remove.
  void Arm(Id id, uint32_t events);
  // The handler will not be called again, but a call may still be under way.
  void Remove(Id id);
  // Joins the thread. Idempotent; must not be called by a handler.
  void Stop();

 private:
  struct Source {
    int fd;
    std::shared_ptr<Handler> handler;
  };

  EpollLoop(FileDescriptor epoll, FileDescriptor stop);
  void Run();
  std::shared_ptr<Handler> Find(Id id);

  const FileDescriptor epoll_;
  const FileDescriptor stop_;  // eventfd
  std::mutex mutex_;
  std::map<Id, Source> sources_;
  Id next_id_ = 1;  // 0 is stop_
  std::thread thread_;
};

}  // namespace nestor::agent
