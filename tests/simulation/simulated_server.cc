#include "tests/simulation/simulated_server.h"

#include <deque>
#include <utility>
#include <vector>

#include "api/support/errors.h"

namespace nestor::simulation {

// One run of the process.
struct SimulatedServer::Life {
  Life(Scheduler& scheduler, SimulatedDisk& disk, Flaw flaw,
       const SimulatedStore::Observer& observer, server::UidSource uids)
      : process(scheduler),
        store(scheduler, process, disk,
              {.answers_before_sync = flaw == Flaw::kAnswersBeforeSync,
               .ignores_compares = flaw == Flaw::kIgnoresCompares},
              observer),
        state(Load(store, scheduler)),
        sessions(std::make_unique<server::AgentSessions>(
            *state, store, scheduler, process, std::move(uids), server::AgentSessions::Options{})) {
  }
  static std::unique_ptr<server::ClusterState> Load(SimulatedStore& store, Scheduler& scheduler) {
    store.CommitAtStart(server::ClusterState::BeginningOfRun(store).value());
    return server::ClusterState::Load(store, scheduler).value();
  }
  ~Life() {
    over = true;
    process.Kill();
    store.Close();
    sessions.reset();
    state.reset();
  }

  Process process;
  SimulatedStore store;
  std::unique_ptr<server::ClusterState> state;
  std::unique_ptr<server::AgentSessions> sessions;
  std::vector<std::shared_ptr<AgentConnection>> connections;  // oldest first
  bool over = false;
};

// The server's end of a connection: one message at a time, as the sessions ask for them.
class SimulatedServer::Stream final : public server::AgentStream,
                                      public std::enable_shared_from_this<Stream> {
 public:
  Stream(Life& life, const std::shared_ptr<AgentConnection>& connection)
      : life_(life), connection_(connection) {}

  void Send(v1::SyncResponse message) override {
    if (const auto connection = connection_.lock()) connection->SendDown(std::move(message));
  }
  void Close(absl::Status status) override {
    const auto connection = connection_.lock();
    if (connection == nullptr) return;
    connection->CloseDown(std::move(status));
    std::erase(life_.connections, connection);
  }
  void Receive(v1::SyncRequest message) {
    waiting_.push_back(std::move(message));
    if (!busy_) TakeNext();
  }

 private:
  void TakeNext() {
    busy_ = !waiting_.empty();
    if (!busy_) return;
    v1::SyncRequest message = std::move(waiting_.front());
    waiting_.pop_front();
    life_.sessions->OnMessage(shared_from_this(), std::move(message),
                              [self = shared_from_this()] { self->TakeNext(); });
  }

  Life& life_;
  const std::weak_ptr<AgentConnection> connection_;  // it holds this stream
  std::deque<v1::SyncRequest> waiting_;
  bool busy_ = false;
};

SimulatedServer::SimulatedServer(Scheduler& scheduler, SimulatedDisk& disk, Flaw flaw,
                                 SimulatedStore::Observer observer)
    : scheduler_(scheduler), disk_(disk), flaw_(flaw), observer_(std::move(observer)) {}

SimulatedServer::~SimulatedServer() = default;

void SimulatedServer::Start() {
  scheduler_.Note("server starts at revision ", disk_.content().revision);
  life_ = std::make_shared<Life>(scheduler_, disk_, flaw_, observer_, uids());
}

void SimulatedServer::Kill() {
  scheduler_.Note("server is killed at revision ", disk_.content().revision);
  const auto life = std::exchange(life_, nullptr);
  for (const auto& connection : life->connections) {
    connection->callee = {};
    connection->Break(scheduler_.choices().Between(absl::Milliseconds(1), absl::Seconds(1)),
                      absl::ZeroDuration());
  }
}

void SimulatedServer::CutPower() {
  Kill();
  disk_.CutPower();
  scheduler_.Note("its machine lost power: the disk is at revision ", disk_.content().revision);
}

void SimulatedServer::Pause(absl::Duration duration) {
  scheduler_.Note("server is stopped for ", absl::FormatDuration(duration));
  life_->process.Pause(duration);
}

void SimulatedServer::Accept(const std::shared_ptr<AgentConnection>& connection) {
  life_->connections.push_back(connection);
  auto stream = std::make_shared<Stream>(*life_, connection);
  connection->callee.on_message = [life = std::weak_ptr(life_), stream](v1::SyncRequest message) {
    if (life.expired()) return;
    life.lock()->process.Post(
        [stream, message = std::move(message)]() mutable { stream->Receive(std::move(message)); });
  };
  connection->callee.on_closed = [life = std::weak_ptr(life_), stream,
                                  weak = std::weak_ptr(connection)] {
    const auto held = life.lock();
    if (held == nullptr) return;
    std::erase(held->connections, weak.lock());
    held->process.Post([&sessions = *held->sessions, stream] { sessions.OnClosed(stream); });
  };
  connection->Open();
}

absl::Status SimulatedServer::Renew(const std::string& host, const std::string& session_id) {
  return life_->sessions->Renew(host, session_id).status();
}

void SimulatedServer::Mutate(server::ClusterState::Decide decide,
                             server::ClusterState::MutateOptions options,
                             server::ClusterState::Done done) {
  if (flaw_ == Flaw::kForgetsRequestIds) options.request_id.clear();
  life_->state->Mutate(std::move(decide), std::move(options),
                       [life = std::weak_ptr(life_),
                        done = std::move(done)](absl::StatusOr<server::Applied> applied) {
                         const auto held = life.lock();
                         if (held != nullptr && !held->over) done(std::move(applied));
                       });
}

const server::ClusterState* SimulatedServer::state() const {
  return life_ == nullptr ? nullptr : life_->state.get();
}

server::UidSource SimulatedServer::uids() {
  return [&scheduler = scheduler_] { return scheduler.NewUuid(); };
}

}  // namespace nestor::simulation
