// The agent's connection to the server: opens the Sync stream, keeps the lease, and opens it
// again, with growing and jittered delays, for as long as it lives.
#pragma once

#include <grpcpp/channel.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <random>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/reconcile/host_reconciler.h"
#include "api/support/event_loop.h"

namespace nestor::agent {

// Delays between two attempts to connect.
struct ReconnectPolicy {
  absl::Duration first = absl::Milliseconds(250);
  absl::Duration highest = absl::Seconds(30);
  // A stream that lived this long starts from `first` again.
  absl::Duration healthy = absl::Seconds(10);
};

// Everything but the constructor, Start and Stop runs on `loop`.
class ServerSession {
 public:
  using OnSession = std::function<void(bool connected, int64_t epoch)>;

  // All references must outlive this. `reconciler` is touched on `loop` only.
  // `on_session` is told on `loop` when a session begins, with its epoch, and when it ends.
  ServerSession(EventLoop& loop, HostReconciler& reconciler, std::shared_ptr<grpc::Channel> channel,
                ReconnectPolicy policy, OnSession on_session);
  ~ServerSession();

  void Start();
  // Closes the stream and waits until gRPC has let go of it. Must not be called on the loop.
  void Stop();

  // Ends the stream, if there is one, so that the next one says anew what is held. Loop only.
  void Restart();

  // Answers may be waiting in the reconciler: sends them when the stream is free. Loop only.
  void SendPending();

 private:
  class Stream;
  class Impl;
  EventLoop& loop_;
  std::shared_ptr<Impl> impl_;
};

}  // namespace nestor::agent
