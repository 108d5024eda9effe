#include "server/reconcile/agent_sessions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <vector>

#include "server/reconcile/test_agent.h"
#include "server/store/testing.h"

namespace nestor::server {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr absl::Duration kLease = absl::Milliseconds(30);

// Keeps what the sessions send.
class RecordingStream final : public AgentStream {
 public:
  void Send(v1::SyncResponse message) override {
    std::lock_guard lock(mutex_);
    messages_.push_back(std::move(message));
    changed_.notify_all();
  }
  void Close(absl::Status status) override {
    std::lock_guard lock(mutex_);
    if (!end_) end_ = std::move(status);
    changed_.notify_all();
  }

  // The next message; empty where the stream ended or none comes.
  v1::SyncResponse Next() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(20), [&] { return !messages_.empty() || end_; });
    if (messages_.empty()) return {};
    v1::SyncResponse message = std::move(messages_.front());
    messages_.pop_front();
    return message;
  }
  // How it was closed.
  absl::Status End() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(20), [&] { return end_.has_value(); });
    return end_.value_or(absl::InternalError("still open"));
  }
  bool is_open() {
    std::lock_guard lock(mutex_);
    return !end_.has_value();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::SyncResponse> messages_;
  std::optional<absl::Status> end_;
};

using StreamPtr = std::shared_ptr<RecordingStream>;

class AgentSessionsTest : public ::testing::Test {
 protected:
  void SetUp() override { Start(absl::Seconds(40)); }
  void TearDown() override { Stop(); }

  void Start(absl::Duration lease) {
    state_ = ClusterState::Load(*store_, clock_).value();
    loop_ = std::make_unique<EventLoop>();
    sessions_ = std::make_unique<AgentSessions>(
        *state_, *store_, clock_, *loop_, [this] { return absl::StrCat("uuid-", ++last_uid_); },
        AgentSessions::Options{.lease_ttl = lease});
  }
  void Stop() {
    loop_->Stop();
    ASSERT_TRUE(CommitAndWait(*store_, Transaction()).ok());
    sessions_.reset();
    state_.reset();
  }

  StreamPtr Open(const v1::SyncRequest& first) {
    auto stream = std::make_shared<RecordingStream>();
    Say(stream, first);
    return stream;
  }
  void Say(const StreamPtr& stream, const v1::SyncRequest& message) {
    sessions_->OnMessage(stream, message, [] {});
  }
  // Everything posted before, and timers that are due within `delay`, have run.
  void AwaitLoop(absl::Duration delay = absl::ZeroDuration()) {
    std::promise<void> done;
    loop_->PostAfter(delay, [&done] { done.set_value(); });
    done.get_future().wait();
  }
  void Create(const ClusterState::Decide& decide) {
    std::promise<absl::Status> done;
    state_->Mutate(decide, {}, [&](const absl::StatusOr<Applied>& applied) {
      done.set_value(applied.status());
    });
    const absl::Status status = done.get_future().get();
    ASSERT_TRUE(status.ok()) << status;
  }
  void CreateMachine() {
    Create([this](const View& view, absl::Time now) {
      v1::CreateVirtualMachineRequest request;
      *request.mutable_virtual_machine() = WantedMachine();
      return CreateVirtualMachine(view, now, Uids(), request);
    });
  }
  void CreateBinding() {
    Create([this](const View& view, absl::Time now) {
      v1::CreatePasidBindingRequest request;
      *request.mutable_pasid_binding() = WantedBinding(BindingName("b"), 7);
      return CreatePasidBinding(view, now, Uids(), request);
    });
  }
  UidSource Uids() {
    return [this] { return absl::StrCat("uid-", ++last_uid_); };
  }
  // Until what the loop was told, and what the answers of the store led to, is stored.
  void Settle() {
    for (int i = 0; i < 3; ++i) {
      AwaitLoop();
      EXPECT_TRUE(CommitAndWait(*store_, Transaction()).ok());
    }
  }
  v1::PasidBinding GetBinding() {
    Settle();
    v1::PasidBinding binding;
    state_->Read([&](const View& view) { binding = view.PasidBindingResource(BindingName("b")); });
    return binding;
  }
  v1::Host GetHost() {
    Settle();
    v1::Host host;
    state_->Read([&](const View& view) { host = view.HostResource(kHostId); });
    return host;
  }

  ManualClock clock_;
  TemporaryStore store_;
  std::atomic<int> last_uid_ = 0;
  std::unique_ptr<ClusterState> state_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<AgentSessions> sessions_;
};

TEST_F(AgentSessionsTest, HelloThatLacksSomethingIsRefusedAndWritesNothing) {
  const std::vector<std::function<void(v1::Hello*)>> spoil = {
      [](v1::Hello* hello) { hello->clear_host(); },
      [](v1::Hello* hello) { hello->set_host("hosts/../h1"); },
      [](v1::Hello* hello) { hello->set_host("h1"); },
      [](v1::Hello* hello) { hello->clear_agent_instance(); },
      [](v1::Hello* hello) { hello->clear_boot_id(); },
      [](v1::Hello* hello) { hello->clear_inventory(); },
      [](v1::Hello* hello) { hello->mutable_inventory()->mutable_devices(0)->set_name("x"); },
      [](v1::Hello* hello) {
        hello->mutable_inventory()->mutable_devices(0)->set_name("hosts/h2/devices/0000:3b:00.0");
      },
  };
  for (size_t i = 0; i < spoil.size(); ++i) {
    v1::SyncRequest message = TestHello();
    spoil[i](message.mutable_hello());
    const absl::Status end = Open(message)->End();
    EXPECT_EQ(ErrorReason(end), "PROTOCOL_ERROR") << i << ": " << end;
  }
  EXPECT_EQ(store_->HeadRevision(), 0);
}

TEST_F(AgentSessionsTest, SecondHelloOnAStreamIsAProtocolError) {
  const StreamPtr stream = Open(TestHello());
  stream->Next();
  Say(stream, TestHello());
  EXPECT_EQ(ErrorReason(stream->End()), "PROTOCOL_ERROR");
}

TEST_F(AgentSessionsTest, EpochsCountUpOverRestarts) {
  EXPECT_EQ(Open(TestHello())->Next().welcome().fence().epoch(), 1);
  Stop();
  store_.Reopen();
  Start(absl::Seconds(40));
  const v1::Fence fence = Open(TestHello())->Next().welcome().fence();
  EXPECT_EQ(fence.epoch(), 2);
  EXPECT_EQ(fence.incarnation(), store_->Incarnation());
}

TEST_F(AgentSessionsTest, AnotherBootIsWelcomeOnceTheStreamIsGone) {
  const StreamPtr first = Open(TestHello());
  first->Next();
  EXPECT_EQ(ErrorReason(Open(TestHello(kOtherBootId))->End()), "AGENT_CONFLICT");
  sessions_->OnClosed(first);
  EXPECT_EQ(Open(TestHello(kOtherBootId))->Next().welcome().fence().epoch(), 2);
}

TEST_F(AgentSessionsTest, AnswersOfASupersededSessionAreNotTakenIn) {
  const StreamPtr older = Open(TestHello());
  older->Next();
  CreateMachine();
  Say(older, AnswerTo(older->Next().desired()));
  CreateBinding();
  const v1::Desired desired = older->Next().desired();
  ASSERT_THAT(desired.bindings(), SizeIs(1));
  const StreamPtr newer = Open(TestHello());
  newer->Next();
  EXPECT_EQ(ErrorReason(older->End()), "SESSION_SUPERSEDED");
  Say(older, AnswerTo(desired));
  EXPECT_EQ(GetBinding().status().state(), v1::PasidBindingStatus::STATE_PERSISTED);
}

TEST_F(AgentSessionsTest, PlainAcceptedIsNotWrittenButItsTimeIsKept) {
  const StreamPtr stream = Open(TestHello());
  stream->Next();
  CreateMachine();
  Say(stream, AnswerTo(stream->Next().desired()));
  CreateBinding();
  const v1::Desired desired = stream->Next().desired();
  const int64_t head = (GetBinding(), store_->HeadRevision());

  v1::SyncRequest accepted = AnswerTo(desired);
  v1::Result& result = *accepted.mutable_results()->mutable_bindings(0);
  result.Clear();
  result.set_uid(desired.bindings(0).uid());
  result.set_generation(1);
  result.set_outcome(v1::Result::OUTCOME_ACCEPTED);
  result.mutable_time()->set_seconds(1'700'000'001);
  Say(stream, accepted);
  EXPECT_EQ(GetBinding().status().state(), v1::PasidBindingStatus::STATE_PERSISTED);
  EXPECT_EQ(store_->HeadRevision(), head);

  Say(stream, AnswerTo(desired));
  const v1::PasidBinding binding = GetBinding();
  EXPECT_EQ(binding.status().state(), v1::PasidBindingStatus::STATE_PROGRAMMED);
  EXPECT_EQ(binding.status().times().accepted().seconds(), 1'700'000'001);
  EXPECT_EQ(binding.status().times().programmed().seconds(), 1'700'000'005);
}

TEST_F(AgentSessionsTest, NothingIsWrittenOfABindingAfterItsPurge) {
  const StreamPtr stream = Open(TestHello());
  stream->Next();
  CreateMachine();
  Say(stream, AnswerTo(stream->Next().desired()));
  CreateBinding();
  const v1::SyncRequest programmed = AnswerTo(stream->Next().desired());
  Say(stream, programmed);
  Settle();
  Create([](const View& view, absl::Time now) {
    v1::DeletePasidBindingRequest request;
    request.set_name(BindingName("b"));
    return DeletePasidBinding(view, now, request);
  });
  v1::SyncRequest gone = AnswerTo(stream->Next().desired());
  ASSERT_THAT(gone.results().bindings(), SizeIs(1));
  // The second message comes while the first is being written, and repeats an older answer.
  *gone.mutable_results()->add_bindings() = programmed.results().bindings(0);
  gone.mutable_results()->mutable_bindings()->SwapElements(0, 1);
  std::promise<void> both_are_queued;
  loop_->Post([&] { both_are_queued.get_future().wait(); });
  Say(stream, programmed);
  Say(stream, gone);
  both_are_queued.set_value();
  EXPECT_EQ(GetBinding().name(), "");
  EXPECT_THAT(*store_->Range("ob/", PrefixEnd("ob/"), 0), IsEmpty());
}

TEST_F(AgentSessionsTest, InventoryOfAnotherHostIsAProtocolError) {
  const StreamPtr stream = Open(TestHello());
  stream->Next();
  v1::SyncRequest message;
  message.mutable_inventory()->add_devices()->set_name("hosts/h2/devices/0000:3b:00.0");
  Say(stream, message);
  EXPECT_EQ(ErrorReason(stream->End()), "PROTOCOL_ERROR");
}

TEST_F(AgentSessionsTest, ManyOrphansAreListedUpToAHundred) {
  v1::SyncRequest hello = TestHello();
  for (int i = 1; i <= 150; ++i) {
    v1::Result& held = *hello.mutable_hello()->add_held_bindings();
    held.set_uid(absl::StrCat("stray-", i));
    held.set_outcome(v1::Result::OUTCOME_PROGRAMMED);
    held.set_device(kDevice);
    held.set_pasid(i);
  }
  const StreamPtr stream = Open(hello);
  stream->Next();
  EXPECT_THAT(GetHost().status().orphans(), SizeIs(100));
}

TEST_F(AgentSessionsTest, RenewOfAnUnknownSessionIsRefused) {
  const StreamPtr stream = Open(TestHello());
  const std::string session = stream->Next().welcome().session_id();
  EXPECT_EQ(*sessions_->Renew(kHost, session), absl::Seconds(40));
  EXPECT_EQ(ErrorReason(sessions_->Renew(kHost, "").status()), "NOT_SESSION_OWNER");
  EXPECT_EQ(ErrorReason(sessions_->Renew("hosts/h2", session).status()), "NOT_SESSION_OWNER");
  EXPECT_EQ(ErrorReason(sessions_->Renew("\x1b\xff", session).status()), "NOT_SESSION_OWNER");
}

TEST_F(AgentSessionsTest, LeaseRunsFromItsLastRenewal) {
  Stop();
  Start(kLease);
  const StreamPtr stream = Open(TestHello());
  const std::string session = stream->Next().welcome().session_id();
  clock_.Advance(kLease - absl::Milliseconds(1));
  ASSERT_TRUE(sessions_->Renew(kHost, session).ok());
  clock_.Advance(kLease - absl::Milliseconds(1));
  AwaitLoop(kLease + absl::Milliseconds(5));
  EXPECT_TRUE(stream->is_open());
  EXPECT_EQ(GetHost().status().state(), v1::HostStatus::STATE_CONNECTED);

  clock_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(stream->End().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(GetHost().status().state(), v1::HostStatus::STATE_UNKNOWN);
  EXPECT_EQ(ErrorReason(sessions_->Renew(kHost, session).status()), "NOT_SESSION_OWNER");
}

TEST_F(AgentSessionsTest, LeaseOfAnOlderSessionDoesNotEndTheNewer) {
  Stop();
  Start(kLease);
  const StreamPtr older = Open(TestHello());
  older->Next();
  clock_.Advance(kLease - absl::Milliseconds(1));
  const StreamPtr newer = Open(TestHello());
  newer->Next();
  clock_.Advance(kLease - absl::Milliseconds(1));
  AwaitLoop(kLease + absl::Milliseconds(5));
  EXPECT_TRUE(newer->is_open());
  EXPECT_EQ(GetHost().status().state(), v1::HostStatus::STATE_CONNECTED);
}

TEST_F(AgentSessionsTest, RepeatedIntentIsNotSentAgain) {
  const StreamPtr stream = Open(TestHello());
  stream->Next();
  CreateMachine();
  const v1::Desired machine = stream->Next().desired();
  Say(stream, AnswerTo(machine));
  // What the answer led to is observed state, of which the agent need not hear.
  GetHost();
  CreateBinding();
  const v1::Desired desired = stream->Next().desired();
  EXPECT_EQ(desired.delivery_seq(), machine.delivery_seq() + 1);
  EXPECT_THAT(desired.virtual_machines(), IsEmpty());
  EXPECT_THAT(desired.bindings(), SizeIs(1));
}

}  // namespace
}  // namespace nestor::server
