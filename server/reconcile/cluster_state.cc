#include "server/reconcile/cluster_state.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "api/support/proto_time.h"
#include "api/support/status_macros.h"
#include "server/core/keys.h"
#include "server/core/server_runs.h"

namespace nestor::server {
namespace {

// Decisions on an ever newer view before the client hears CONTENTION.
constexpr int kMaxAttempts = 100;
// One that comes back from the store queues behind those decided meanwhile, so a client that
// writes again at once would win every time. After so many attempts new mutations wait.
constexpr int kAttemptsBeforeTurn = 8;
constexpr size_t kMaxWaiting = 4096;
constexpr absl::Duration kRetryFullQueueAfter = absl::Milliseconds(100);
constexpr absl::Duration kRequestLifetime = absl::Hours(1);
// Stored answers of one scope, and their bytes; the oldest go first.
constexpr size_t kMaxRequestsPerScope = 10'000;
constexpr size_t kMaxRequestBytesPerScope = size_t{64} << 20;
// Bounds the memory of a start.
constexpr size_t kRowsPerRead = 10'000;
// Stored answers removed by one commit, so that none is slow.
constexpr size_t kMaxRemovedPerCommit = 1000;

std::shared_ptr<google::protobuf::Message> NewMessage(const std::string& type) {
  const auto* descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(type);
  if (descriptor == nullptr) return nullptr;
  const auto* prototype =
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor);
  return std::shared_ptr<google::protobuf::Message>(prototype->New());
}

}  // namespace

struct ClusterState::Attempt {
  Decide decide;
  MutateOptions options;
  Done done;
  int count = 0;
  // Of the decision that is on its way to the store.
  std::shared_ptr<google::protobuf::Message> reply;
  std::vector<std::string> claims;

  std::string RequestKey() const { return keys::Request(options.scope, options.request_id); }
};

class ClusterState::Subscription final : public StateSubscription {
 public:
  Subscription(ClusterState& state, std::string name, int64_t id)
      : state_(state), name_(std::move(name)), id_(id) {}
  ~Subscription() override {
    // Listeners run under this lock: once it is held here, none runs any more.
    std::lock_guard lock(state_.listeners_mutex_);
    auto it = state_.listeners_.find(name_);
    it->second.erase(id_);
    if (it->second.empty()) state_.listeners_.erase(it);
  }

 private:
  ClusterState& state_;
  const std::string name_;
  const int64_t id_;
};

absl::StatusOr<Transaction> ClusterState::BeginningOfRun(Store& store) {
  RunsBefore before;
  before.head_revision = store.HeadRevision();
  ASSIGN_OR_RETURN(const auto ends, store.Range(keys::kRunEnds, PrefixEnd(keys::kRunEnds), 0));
  for (const KeyValue& row : ends) {
    if (const auto revision = keys::ParseRunEnd(row.key)) before.run_ends.push_back(*revision);
  }
  ASSIGN_OR_RETURN(const auto epochs, store.Range(keys::kEpochs, PrefixEnd(keys::kEpochs), 0));
  for (const KeyValue& row : epochs) before.epoch_revisions.push_back(row.mod_revision);
  return server::BeginRun(before);
}

absl::Status ClusterState::BeginRun(Store& store) {
  ASSIGN_OR_RETURN(Transaction transaction, BeginningOfRun(store));
  return CommitAndWait(store, std::move(transaction)).status();
}

absl::StatusOr<std::unique_ptr<ClusterState>> ClusterState::Load(Store& store, const Clock& clock) {
  std::unique_ptr<ClusterState> state(new ClusterState(store, clock));
  RETURN_IF_ERROR(state->LoadRows());
  auto watch = store.Watch(state->view_.head_revision(),
                           [raw = state.get()](const auto& events) { raw->OnEvents(events); });
  if (!watch.ok()) return watch.status();
  state->watch_ = *std::move(watch);
  return state;
}

ClusterState::~ClusterState() {
  {
    std::unique_lock lock(mutex_);
    all_finished_.wait(lock, [this] { return begun_ == 0; });
  }
  watch_.reset();
}

absl::Status ClusterState::LoadRows() {
  // The newest row may be older than the store: a commit that only deleted leaves none.
  const int64_t head = store_.HeadRevision();
  // What is observed of a resource is taken in after the resource.
  RETURN_IF_ERROR(LoadRange("", keys::kObserved));
  RETURN_IF_ERROR(LoadRange(PrefixEnd(keys::kObserved), ""));
  RETURN_IF_ERROR(LoadRange(keys::kObserved, PrefixEnd(keys::kObserved)));
  view_.AdvanceTo(head);
  return absl::OkStatus();
}

absl::Status ClusterState::LoadRange(absl::string_view begin, absl::string_view end) {
  std::vector<StateChange> ignored;
  std::string next(begin);
  while (true) {
    auto rows = store_.Range(next, end, kRowsPerRead);
    if (!rows.ok()) return rows.status();
    for (KeyValue& row : *rows) {
      next = row.key + '\0';
      RETURN_IF_ERROR(
          view_.Apply({row.mod_revision, std::move(row.key), std::move(row.value)}, &ignored));
      ignored.clear();
    }
    if (rows->size() < kRowsPerRead) return absl::OkStatus();
  }
}

void ClusterState::Read(absl::FunctionRef<void(const View&)> read) const {
  std::lock_guard lock(mutex_);
  read(view_);
}

int64_t ClusterState::HeadRevision() const {
  std::lock_guard lock(mutex_);
  return view_.head_revision();
}

void ClusterState::OnEvents(const std::vector<StoreEvent>& events) {
  std::vector<StateChange> changes;
  {
    std::lock_guard lock(mutex_);
    for (const StoreEvent& event : events) {
      if (absl::Status status = view_.Apply(event, &changes); !status.ok() && broken_.ok()) {
        spdlog::critical("the view cannot follow the store: {}",
                         status.ToString(absl::StatusToStringMode::kWithNoExtraData));
        broken_ = std::move(status);
      }
    }
  }
  Tell(changes);
}

void ClusterState::Tell(const std::vector<StateChange>& changes) {
  if (changes.empty()) return;
  std::lock_guard lock(listeners_mutex_);
  auto call = [&](const std::string& name) {
    auto it = listeners_.find(name);
    if (it == listeners_.end()) return;
    for (const auto& [id, listener] : it->second) listener(changes);
  };
  call("");
  for (const StateChange& change : changes) call(change.name);
}

std::unique_ptr<StateSubscription> ClusterState::Subscribe(Listener listener) {
  return SubscribeTo("", std::move(listener));
}

std::unique_ptr<StateSubscription> ClusterState::SubscribeTo(std::string name, Listener listener) {
  std::lock_guard lock(listeners_mutex_);
  const int64_t id = next_listener_++;
  listeners_[name].emplace(id, std::move(listener));
  return std::make_unique<Subscription>(*this, std::move(name), id);
}

void ClusterState::Mutate(Decide decide, MutateOptions options, Done done) {
  auto attempt = std::make_shared<Attempt>();
  attempt->decide = std::move(decide);
  attempt->options = std::move(options);
  attempt->done = std::move(done);
  bool full = false;
  {
    std::lock_guard lock(mutex_);
    ++begun_;
    full = waiting_.size() >= kMaxWaiting;
    if (turns_ > 0 && !full) {
      waiting_.push_back(std::move(attempt));
      return;
    }
  }
  if (full) return Finish(*attempt, errors::QueueFull("mutation queue", kRetryFullQueueAfter));
  Try(attempt);
}

void ClusterState::Try(const std::shared_ptr<Attempt>& attempt) {
  Transaction transaction;
  std::optional<absl::StatusOr<Applied>> answer;
  {
    std::lock_guard lock(mutex_);
    answer = DecideOnce(*attempt, &transaction);
    if (!answer) attempt->claims = view_.NoteOnItsWay(transaction);
  }
  if (answer) return Finish(*attempt, *std::move(answer));
  store_.Commit(std::move(transaction), [this, attempt](absl::StatusOr<int64_t> revision) {
    OnCommitted(attempt, std::move(revision));
  });
}

std::optional<absl::StatusOr<Applied>> ClusterState::DecideOnce(Attempt& attempt,
                                                                Transaction* transaction) {
  if (!broken_.ok()) return broken_;
  const absl::Time now = clock_.Now();
  auto answered = FindAnswer(attempt, now);
  if (!answered.ok()) return answered.status();
  if (answered->has_value()) return **std::move(answered);
  auto decision = attempt.decide(view_, now);
  if (!decision.ok()) return decision.status();
  if (decision->changes_nothing() || attempt.options.validate_only) {
    return Applied{std::move(decision->reply), view_.head_revision()};
  }
  if (!attempt.options.request_id.empty()) RememberAnswer(attempt, now, &*decision);
  attempt.reply = std::move(decision->reply);
  *transaction = std::move(decision->transaction);
  return std::nullopt;
}

void ClusterState::OnCommitted(const std::shared_ptr<Attempt>& attempt,
                               absl::StatusOr<int64_t> revision) {
  {
    std::lock_guard lock(mutex_);
    view_.ForgetOnItsWay(attempt->claims);
    if (absl::IsAborted(revision.status()) && ++attempt->count == kAttemptsBeforeTurn) ++turns_;
  }
  if (absl::IsAborted(revision.status()) && attempt->count < kMaxAttempts) return Try(attempt);
  if (absl::IsAborted(revision.status())) {
    return Finish(*attempt, errors::Contention("what the request touches"));
  }
  if (!revision.ok()) return Finish(*attempt, revision.status());
  if (attempt->reply != nullptr) StampRevision(*revision, attempt->reply.get());
  Finish(*attempt, Applied{std::move(attempt->reply), *revision});
}

void ClusterState::Finish(const Attempt& attempt, absl::StatusOr<Applied> applied) {
  attempt.done(std::move(applied));
  std::vector<std::shared_ptr<Attempt>> ready;
  {
    std::lock_guard lock(mutex_);
    if (attempt.count >= kAttemptsBeforeTurn && --turns_ == 0) ready.swap(waiting_);
    if (--begun_ == 0) all_finished_.notify_all();
  }
  for (const auto& next : ready) Try(next);
}

absl::StatusOr<std::optional<Applied>> ClusterState::FindAnswer(const Attempt& attempt,
                                                                absl::Time now) const {
  if (attempt.options.request_id.empty()) return std::nullopt;
  const RequestRecord* record = view_.FindRequest(attempt.RequestKey());
  if (record == nullptr || FromTimestamp(record->row.expire_time()) <= now) return std::nullopt;
  if (record->row.request_hash() != attempt.options.request_hash) {
    return errors::RequestIdReused(attempt.options.request_id);
  }
  auto reply = NewMessage(record->row.reply_type());
  if (reply == nullptr || !reply->ParseFromString(record->row.reply())) {
    return errors::StoreIncompatible(
        absl::StrCat("the stored answer to request ", attempt.options.request_id,
                     " was written by another version; use a new request_id"));
  }
  StampRevision(record->revision, reply.get());
  return Applied{std::move(reply), record->revision};
}

void ClusterState::RememberAnswer(const Attempt& attempt, absl::Time now,
                                  Decision* decision) const {
  const std::string key = attempt.RequestKey();
  storage::v1::RequestRow row;
  row.set_request_hash(attempt.options.request_hash);
  row.set_reply_type(decision->reply->GetDescriptor()->full_name());
  row.set_reply(decision->reply->SerializeAsString());
  *row.mutable_expire_time() = ToTimestamp(now + kRequestLifetime);
  const RequestRecord* present = view_.FindRequest(key);
  Transaction& transaction = decision->transaction;
  MakeRoom(attempt, now, &transaction);
  transaction.compares.push_back(
      Compare::Unchanged(key, present != nullptr ? present->revision : 0));
  transaction.puts.emplace_back(key, row.SerializeAsString());
}

void ClusterState::MakeRoom(const Attempt& attempt, absl::Time now,
                            Transaction* transaction) const {
  const auto& by_age = view_.RequestsByAge(attempt.options.scope);
  size_t count = by_age.size();
  size_t bytes = view_.RequestBytes(attempt.options.scope);
  size_t removed = 0;
  for (const auto& [revision, key] : by_age) {
    const storage::v1::RequestRow& row = view_.FindRequest(key)->row;
    const bool expired = FromTimestamp(row.expire_time()) <= now;
    const bool full = count >= kMaxRequestsPerScope || bytes >= kMaxRequestBytesPerScope;
    if (!expired && !full) break;
    if (removed++ == kMaxRemovedPerCommit) break;
    // An expired answer under the same id is about to be replaced.
    if (key != attempt.RequestKey()) transaction->deletes.push_back(key);
    --count;
    bytes -= row.reply().size();
  }
}

}  // namespace nestor::server
