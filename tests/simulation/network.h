// The network between simulated machines: late, broken, half-open, cut in one direction.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tests/simulation/scheduler.h"

namespace nestor::simulation {

// Machines are named; a direction is cut until it is healed.
class Network {
 public:
  explicit Network(Scheduler& scheduler) : scheduler_(scheduler) {}

  void Cut(const std::string& from, const std::string& to) { cut_.insert({from, to}); }
  void Heal() { cut_.clear(); }
  bool IsCut(const std::string& from, const std::string& to) const {
    return cut_.contains({from, to});
  }
  // From now on nothing is lost and little is late.
  void Calm() {
    Heal();
    calm_ = true;
  }
  absl::Duration Latency();
  // Whether this one datagram, or this one connection, comes to nothing.
  bool Fails() { return !calm_ && scheduler_.choices().Percent(2); }

  // One request and its reply: `handle` runs on the far side; `on_failure` runs
  // where no reply came, which does not mean that the request did not.
  void Call(const std::string& from, const std::string& to, std::function<void()> handle,
            std::function<void()> on_failure);
  // The way back of such a call.
  void Reply(const std::string& from, const std::string& to, std::function<void()> deliver,
             std::function<void()> on_failure);

 private:
  Scheduler& scheduler_;
  bool calm_ = false;
  std::set<std::pair<std::string, std::string>> cut_;
};

// A stream in both directions, each in order. Its ends learn of its end separately: at once,
// or after the time that keepalive takes, or never, where their process is gone.
template <typename Up, typename Down>
class Connection : public std::enable_shared_from_this<Connection<Up, Down>> {
 public:
  // How long an end can take to notice that nothing comes from the other.
  static constexpr absl::Duration kKeepAlive = absl::Seconds(20);

  // What one end is told; cleared when its process dies.
  struct Caller {
    std::function<void(Down)> on_message;
    std::function<void(absl::Status)> on_closed;
  };
  struct Callee {
    std::function<void(Up)> on_message;
    std::function<void()> on_closed;
  };

  Connection(Scheduler& scheduler, Network& network, std::string caller_name,
             std::string callee_name)
      : scheduler_(scheduler),
        network_(network),
        caller_name_(std::move(caller_name)),
        callee_name_(std::move(callee_name)) {}

  Caller caller;
  Callee callee;

  // Once both ends are set.
  void Open() { KeepAlive(0); }
  void SendUp(Up message) {
    Send(&up_, [this, message = std::move(message)]() mutable {
      if (callee.on_message) callee.on_message(std::move(message));
    });
  }
  void SendDown(Down message) {
    Send(&down_, [this, message = std::move(message)]() mutable {
      if (caller.on_message) caller.on_message(std::move(message));
    });
  }
  // The callee ends it, after what it sent.
  void CloseDown(absl::Status status) {
    Send(&down_, [this, status = std::move(status)]() mutable { TellCaller(std::move(status)); });
    TellCallee();
  }
  // The caller ends it.
  void CloseUp() {
    Send(&up_, [this] { TellCallee(); });
    caller = {};
  }
  // What is on its way is lost; each end learns of it after its own time.
  void Break(absl::Duration caller_learns, absl::Duration callee_learns) {
    broken_ = true;
    auto self = this->shared_from_this();
    scheduler_.After(caller_learns,
                     [self] { self->TellCaller(absl::UnavailableError("the connection broke")); });
    scheduler_.After(callee_learns, [self] { self->TellCallee(); });
  }
  bool open() const { return caller.on_closed != nullptr && callee.on_closed != nullptr; }

 private:
  struct Direction {
    bool up;
    absl::Time last = absl::InfinitePast();
    std::deque<std::function<void()>> on_their_way = {};
  };

  // `deliver` may use this connection: whoever delivers it keeps the connection.
  void Send(Direction* direction, std::function<void()> deliver) {
    if (broken_) return;
    direction->on_their_way.push_back(std::move(deliver));
    direction->last = std::max(direction->last, scheduler_.Now() + network_.Latency());
    DeliverAfter(direction->last - scheduler_.Now(), direction);
  }
  // The oldest that is on its way, whichever that is: nothing overtakes.
  void DeliverAfter(absl::Duration delay, Direction* direction) {
    scheduler_.After(delay, [self = this->shared_from_this(), direction] {
      if (self->broken_) return;
      if (self->IsCut(*direction)) {
        return self->DeliverAfter(absl::Milliseconds(200), direction);
      }
      const auto deliver = std::move(direction->on_their_way.front());
      direction->on_their_way.pop_front();
      deliver();
    });
  }
  bool IsCut(const Direction& direction) const {
    return direction.up ? network_.IsCut(caller_name_, callee_name_)
                        : network_.IsCut(callee_name_, caller_name_);
  }
  void KeepAlive(int missed) {
    scheduler_.After(absl::Seconds(10), [self = this->shared_from_this(), missed] {
      if (self->broken_ || !self->open()) return;
      const bool cut = self->IsCut(self->up_) || self->IsCut(self->down_);
      if (cut && missed == 1) {
        const auto later = self->scheduler_.choices().Between(absl::ZeroDuration(), kKeepAlive);
        return self->Break(absl::ZeroDuration(), later);
      }
      self->KeepAlive(cut ? 1 : 0);
    });
  }
  void TellCaller(absl::Status status) {
    auto told = std::exchange(caller, {});
    if (told.on_closed) told.on_closed(std::move(status));
  }
  void TellCallee() {
    auto told = std::exchange(callee, {});
    if (told.on_closed) told.on_closed();
  }

  Scheduler& scheduler_;
  Network& network_;
  const std::string caller_name_;
  const std::string callee_name_;
  bool broken_ = false;
  Direction up_{.up = true};
  Direction down_{.up = false};
};

}  // namespace nestor::simulation
