#include "server/reconcile/cluster_state.h"

#include <google/protobuf/util/time_util.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "api/support/status_macros.h"
#include "server/core/keys.h"

namespace nestor::server {
namespace {

// Decisions on an ever newer view before the client hears CONTENTION.
constexpr int kMaxAttempts = 16;
constexpr absl::Duration kRequestLifetime = absl::Hours(1);
// Stored answers of one scope; the oldest go first.
constexpr size_t kMaxRequestsPerScope = 10'000;
// Stored answers removed by one commit, so that none is slow.
constexpr size_t kMaxRemovedPerCommit = 16;

absl::Time ToAbsl(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

google::protobuf::Timestamp ToProto(absl::Time time) {
  return google::protobuf::util::TimeUtil::NanosecondsToTimestamp(absl::ToUnixNanos(time));
}

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

  std::string RequestKey() const { return keys::Request(options.scope, options.request_id); }
};

class ClusterState::Subscription final : public StateSubscription {
 public:
  Subscription(ClusterState& state, int64_t id) : state_(state), id_(id) {}
  ~Subscription() override {
    // Listeners run under this lock: once it is held here, none runs any more.
    std::lock_guard lock(state_.listeners_mutex_);
    state_.listeners_.erase(id_);
  }

 private:
  ClusterState& state_;
  const int64_t id_;
};

absl::StatusOr<std::unique_ptr<ClusterState>> ClusterState::Load(Store& store, const Clock& clock) {
  std::unique_ptr<ClusterState> state(new ClusterState(store, clock));
  RETURN_IF_ERROR(state->LoadRows());
  auto watch = store.Watch(state->view_.head_revision(),
                           [raw = state.get()](const auto& events) { raw->OnEvents(events); });
  if (!watch.ok()) return watch.status();
  state->watch_ = *std::move(watch);
  return state;
}

ClusterState::~ClusterState() { watch_.reset(); }

absl::Status ClusterState::LoadRows() {
  auto rows = store_.Range("", "", 0);
  if (!rows.ok()) return rows.status();
  // What is observed of a resource is taken in after the resource.
  auto apply = [&](bool observed) -> absl::Status {
    std::vector<StateChange> ignored;
    for (KeyValue& row : *rows) {
      if (absl::StartsWith(row.key, "o") != observed) continue;
      RETURN_IF_ERROR(view_.Apply({row.mod_revision, row.key, std::move(row.value)}, &ignored));
      ignored.clear();
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(apply(false));
  return apply(true);
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
        spdlog::critical("the view cannot follow the store: {}", status.ToString());
        broken_ = std::move(status);
      }
    }
  }
  std::lock_guard lock(listeners_mutex_);
  for (const auto& [id, listener] : listeners_) listener(changes);
}

std::unique_ptr<StateSubscription> ClusterState::Subscribe(Listener listener) {
  std::lock_guard lock(listeners_mutex_);
  const int64_t id = next_listener_++;
  listeners_.emplace(id, std::move(listener));
  return std::make_unique<Subscription>(*this, id);
}

void ClusterState::Mutate(Decide decide, MutateOptions options, Done done) {
  auto attempt = std::make_shared<Attempt>();
  attempt->decide = std::move(decide);
  attempt->options = std::move(options);
  attempt->done = std::move(done);
  Try(std::move(attempt));
}

void ClusterState::Try(std::shared_ptr<Attempt> attempt) {
  const absl::Time now = clock_.Now();
  absl::StatusOr<Decision> decision = absl::UnknownError("not decided");
  absl::StatusOr<std::optional<Applied>> answered = std::nullopt;
  int64_t head = 0;
  {
    std::lock_guard lock(mutex_);
    head = view_.head_revision();
    answered = broken_.ok() ? FindAnswer(*attempt) : broken_;
    if (answered.ok() && !answered->has_value()) {
      decision = attempt->decide(view_, now);
      if (decision.ok() && !decision->changes_nothing()) {
        RememberAnswer(*attempt, now, &*decision);
      }
    }
  }
  if (!answered.ok()) return attempt->done(answered.status());
  if (answered->has_value()) return attempt->done(**std::move(answered));
  if (!decision.ok()) return attempt->done(decision.status());
  if (decision->changes_nothing() || attempt->options.validate_only) {
    return attempt->done(Applied{decision->reply, head});
  }
  auto reply = decision->reply;
  store_.Commit(std::move(decision->transaction),
                [this, attempt, reply](absl::StatusOr<int64_t> revision) {
                  if (revision.ok()) {
                    if (reply != nullptr) StampRevision(*revision, reply.get());
                    return attempt->done(Applied{reply, *revision});
                  }
                  if (!absl::IsAborted(revision.status())) return attempt->done(revision.status());
                  if (++attempt->count < kMaxAttempts) return Try(attempt);
                  attempt->done(errors::Contention("the resource"));
                });
}

absl::StatusOr<std::optional<Applied>> ClusterState::FindAnswer(const Attempt& attempt) const {
  if (attempt.options.request_id.empty()) return std::nullopt;
  const RequestRecord* record = view_.FindRequest(attempt.RequestKey());
  if (record == nullptr || ToAbsl(record->row.expire_time()) <= clock_.Now()) return std::nullopt;
  if (record->row.request_hash() != attempt.options.request_hash) {
    return errors::RequestIdReused(attempt.options.request_id);
  }
  auto reply = NewMessage(record->row.reply_type());
  if (reply == nullptr || !reply->ParseFromString(record->row.reply())) return std::nullopt;
  StampRevision(record->revision, reply.get());
  return Applied{std::move(reply), record->revision};
}

void ClusterState::RememberAnswer(const Attempt& attempt, absl::Time now,
                                  Decision* decision) const {
  if (attempt.options.request_id.empty() || attempt.options.validate_only) return;
  const std::string key = attempt.RequestKey();
  storage::v1::RequestRow row;
  row.set_request_hash(attempt.options.request_hash);
  row.set_reply_type(decision->reply->GetDescriptor()->full_name());
  row.set_reply(decision->reply->SerializeAsString());
  *row.mutable_expire_time() = ToProto(now + kRequestLifetime);
  const RequestRecord* present = view_.FindRequest(key);
  Transaction& transaction = decision->transaction;
  transaction.compares.push_back(
      Compare::Unchanged(key, present != nullptr ? present->revision : 0));
  transaction.puts.emplace_back(key, row.SerializeAsString());

  // Makes room: what expired, and the oldest of a scope that is full.
  const auto& by_age = view_.RequestsByAge(attempt.options.scope);
  size_t count = by_age.size();
  size_t removed = 0;
  for (const auto& [revision, old_key] : by_age) {
    const bool expired = ToAbsl(view_.FindRequest(old_key)->row.expire_time()) <= now;
    if ((!expired && count < kMaxRequestsPerScope) || removed == kMaxRemovedPerCommit) break;
    if (old_key == key) continue;
    transaction.deletes.push_back(old_key);
    --count;
    ++removed;
  }
}

}  // namespace nestor::server
