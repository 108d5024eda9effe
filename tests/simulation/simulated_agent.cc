#include "tests/simulation/simulated_agent.h"

#include <algorithm>
#include <utility>

#include "absl/strings/strip.h"
#include "api/support/proto_time.h"

namespace nestor::simulation {
namespace {

constexpr absl::Duration kFirstDelay = absl::Milliseconds(250);
constexpr absl::Duration kLongestDelay = absl::Seconds(30);

}  // namespace

SimulatedAgent::SimulatedAgent(Scheduler& scheduler, Network& network, SimulatedServer& server,
                               Flaw flaw, agent::HostIdentity identity, v1::Inventory inventory,
                               agent::ShimLauncher& launcher, agent::VmmEndpoints& endpoints)
    : scheduler_(scheduler),
      network_(network),
      server_(server),
      flaw_(flaw),
      host_(absl::StripPrefix(identity.host, "hosts/")),
      reconciler_(std::move(identity), std::move(inventory), launcher, endpoints,
                  [this](std::function<void()> function) { process_.Post(std::move(function)); }),
      process_(scheduler) {
  process_.Post([this] { Connect(); });
}

SimulatedAgent::~SimulatedAgent() {
  process_.Kill();
  if (connection_ == nullptr) return;
  connection_->caller = {};
  const bool soon = scheduler_.choices().Percent(70);
  connection_->Break(absl::ZeroDuration(),
                     soon ? absl::Milliseconds(2)
                          : scheduler_.choices().Between(absl::ZeroDuration(), absl::Seconds(40)));
}

void SimulatedAgent::Connect() {
  ++session_;
  connection_ =
      std::make_shared<AgentConnection>(scheduler_, network_, host_, SimulatedServer::kMachine);
  // What arrives while this process is stopped is taken in when it goes on.
  connection_->caller.on_message = [this, session = session_](v1::SyncResponse message) {
    process_.Post([this, session, message = std::move(message)]() mutable {
      if (session == session_ && connection_ != nullptr) OnMessage(std::move(message));
    });
  };
  connection_->caller.on_closed = [this, session = session_](absl::Status status) {
    process_.Post([this, session, status = std::move(status)] {
      if (session == session_) OnClosed(status);
    });
  };
  Dial(connection_);
  connection_->SendUp(reconciler_.BeginSession());
}

void SimulatedAgent::Dial(const std::shared_ptr<AgentConnection>& connection) {
  const bool fails = network_.Fails() || network_.IsCut(host_, SimulatedServer::kMachine) ||
                     network_.IsCut(SimulatedServer::kMachine, host_);
  if (!server_.running() || fails) {
    return connection->Break(scheduler_.choices().Between(absl::Milliseconds(1), absl::Seconds(2)),
                             absl::ZeroDuration());
  }
  server_.Accept(connection);
}

bool SimulatedAgent::Tamper(v1::SyncResponse* message) {
  if (!message->has_desired()) {
    tampered_seq_ = 0;
    return true;
  }
  v1::Desired& desired = *message->mutable_desired();
  if (flaw_ == Flaw::kHidesLostMessages) {
    if (scheduler_.choices().Percent(20)) return false;
    desired.set_delivery_seq(++tampered_seq_);
  }
  if (flaw_ == Flaw::kAnswersAbsentTooEarly) {
    agent::ShimReport report;
    for (const v1::DesiredBinding& binding : desired.bindings()) {
      if (!binding.absent()) continue;
      v1::Result& result = report.bindings.emplace_back();
      result.set_uid(binding.uid());
      result.set_generation(binding.generation());
      result.set_outcome(v1::Result::OUTCOME_ABSENT);
    }
    Collect(std::move(report));
  }
  return true;
}

void SimulatedAgent::OnMessage(v1::SyncResponse message) {
  if (!Tamper(&message)) return;
  if (absl::Status status = reconciler_.TakeIn(message); !status.ok()) {
    scheduler_.Note(host_, " closes its session: ", status.message());
    return Leave();
  }
  if (message.has_welcome()) {
    scheduler_.Note(host_, " has a session, epoch ", message.welcome().fence().epoch());
    delay_ = kFirstDelay;
    RenewLater();
  }
  SendPending();
}

void SimulatedAgent::OnClosed(const absl::Status& status) {
  scheduler_.Note(host_, " lost its session: ", status.message());
  connection_ = nullptr;
  process_.PostAfter(delay_ * 0.75, [this, session = session_] {
    if (session == session_) Connect();
  });
  delay_ = std::min(2 * delay_, kLongestDelay);
}

void SimulatedAgent::Leave() {
  connection_->CloseUp();
  OnClosed(absl::CancelledError("closed here"));
}

void SimulatedAgent::Collect(agent::ShimReport report) {
  process_.Post([this, report = std::move(report)]() mutable {
    reconciler_.Collect(std::move(report));
    SendPending();
  });
}

void SimulatedAgent::SendPending() {
  if (connection_ == nullptr) return;
  while (auto results = reconciler_.NextResults()) connection_->SendUp(*std::move(results));
}

void SimulatedAgent::BreakConnection() {
  if (connection_ == nullptr) return;
  Choices& choices = scheduler_.choices();
  connection_->Break(choices.Between(absl::ZeroDuration(), absl::Seconds(20)),
                     choices.Between(absl::ZeroDuration(), absl::Seconds(20)));
}

void SimulatedAgent::RenewLater() {
  const absl::Duration ttl = FromProtoDuration(reconciler_.welcome()->lease_ttl());
  process_.PostAfter(ttl / 4, [this, session = session_] {
    if (session == session_ && connection_ != nullptr) Renew();
  });
}

void SimulatedAgent::Renew() {
  const std::string host = reconciler_.host();
  const std::string id = reconciler_.welcome()->session_id();
  auto again = [this, session = session_] {
    process_.Post([this, session] {
      if (session == session_ && connection_ != nullptr) RenewLater();
    });
  };
  // The callbacks outlive this agent's process; its queue does not.
  auto queue = process_.weak();
  network_.Call(
      host_, SimulatedServer::kMachine,
      [this, &server = server_, &network = network_, machine = host_, host, id, queue, again] {
        if (!server.running()) return;
        const absl::Status status = server.Renew(host, id);
        network.Reply(
            SimulatedServer::kMachine, machine,
            [this, queue, status, again, session = id] {
              if (queue.expired()) return;
              if (!absl::IsAborted(status)) return again();
              process_.Post([this, session] {
                const bool present = connection_ != nullptr && reconciler_.welcome().has_value() &&
                                     reconciler_.welcome()->session_id() == session;
                if (present) Leave();
              });
            },
            [queue, again] {
              if (!queue.expired()) again();
            });
      },
      [queue, again] {
        if (!queue.expired()) again();
      });
}

}  // namespace nestor::simulation
