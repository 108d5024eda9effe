// A store that is brought back from a copy of its directory, and hosts that were told more.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <future>

#include "api/support/errors.h"
#include "server/core/keys.h"
#include "server/reconcile/agent_sessions.h"
#include "server/reconcile/test_agent.h"
#include "server/store/testing.h"

namespace nestor::server {
namespace {

constexpr int kReconnects = 1000;

// The first thing that an agent is answered: its Welcome, or why it is refused.
class FirstAnswer final : public AgentStream {
 public:
  void Send(v1::SyncResponse message) override {
    if (message.has_welcome()) Answer(message.welcome().fence());
  }
  void Close(absl::Status status) override { Answer(std::move(status)); }
  absl::StatusOr<v1::Fence> Wait() { return answer_.get_future().get(); }

 private:
  // Both are called by one thread, the loop's.
  void Answer(absl::StatusOr<v1::Fence> answer) {
    if (!answered_) answer_.set_value(std::move(answer));
    answered_ = true;
  }

  bool answered_ = false;
  std::promise<absl::StatusOr<v1::Fence>> answer_;
};

// One run of the server over a directory.
class ServerRun {
 public:
  explicit ServerRun(const std::string& path)
      : store_(RocksDbStore::Open(path, SmallStoreOptions(), clock_).value()) {
    EXPECT_TRUE(ClusterState::BeginRun(*store_).ok());
    state_ = ClusterState::Load(*store_, clock_).value();
    sessions_ = std::make_unique<AgentSessions>(
        *state_, *store_, clock_, loop_, [this] { return absl::StrCat("uuid-", ++last_uid_); },
        AgentSessions::Options{});
  }
  ~ServerRun() {
    loop_.Stop();
    EXPECT_TRUE(CommitAndWait(*store_, Transaction()).ok());
    sessions_.reset();
    state_.reset();
  }

  // The agent says Hello and names `seen`. The fence that it is then told.
  absl::StatusOr<v1::Fence> Connect(const v1::Fence& seen) {
    v1::SyncRequest hello = TestHello();
    if (!seen.incarnation().empty()) *hello.mutable_hello()->mutable_highest_seen() = seen;
    const auto stream = std::make_shared<FirstAnswer>();
    sessions_->OnMessage(stream, hello, [] {});
    absl::StatusOr<v1::Fence> answer = stream->Wait();
    sessions_->OnClosed(stream);
    return answer;
  }
  // Stores some intent; its revision.
  int64_t Change() {
    storage::v1::HostRow row;
    row.mutable_metadata()->set_schema(1);
    Transaction transaction;
    transaction.puts.emplace_back(keys::Host("another"), row.SerializeAsString());
    return CommitAndWait(*store_, std::move(transaction)).value();
  }
  void ChangeUntil(int64_t revision) {
    while (Change() <= revision) {
    }
  }

 private:
  ManualClock clock_;
  int last_uid_ = 0;
  std::unique_ptr<RocksDbStore> store_;
  std::unique_ptr<ClusterState> state_;
  EventLoop loop_;
  std::unique_ptr<AgentSessions> sessions_;
};

class StoreRollbackTest : public ::testing::Test {
 protected:
  std::string original() const { return directory_.path() + "/original"; }
  std::string copy() const { return directory_.path() + "/copy"; }
  void Copy() {
    std::filesystem::copy(original(), copy(), std::filesystem::copy_options::recursive);
  }
  void ExpectHeldHoweverOften(const v1::Fence& seen) {
    ServerRun run(copy());
    for (int i = 0; i < kReconnects; ++i) {
      ASSERT_EQ(ErrorReason(run.Connect(seen).status()), "HOLD") << "connection " << i;
      if (i % 100 == 0) run.Change();
    }
  }

  TemporaryDirectory directory_;
};

TEST_F(StoreRollbackTest, CopyThatIsOlderThanTheHostsSessionIsRefusedHoweverFarItGoes) {
  v1::Fence seen;
  {
    ServerRun run(original());
    run.Change();
    Copy();
    seen = run.Connect(seen).value();
  }
  { ServerRun(copy()).ChangeUntil(seen.head_revision() + 10); }
  ExpectHeldHoweverOften(seen);
}

TEST_F(StoreRollbackTest, CopyTakenWithinTheHostsSessionIsRefusedHoweverFarItGoes) {
  v1::Fence seen;
  {
    ServerRun run(original());
    seen = run.Connect(seen).value();
    Copy();
    seen.set_head_revision(run.Change());
  }
  { ServerRun(copy()).ChangeUntil(seen.head_revision() + 10); }
  ExpectHeldHoweverOften(seen);
}

TEST_F(StoreRollbackTest, HostThatWasToldNothingAfterTheCopyIsServed) {
  v1::Fence seen;
  {
    ServerRun run(original());
    seen = run.Connect(seen).value();
    Copy();
  }
  EXPECT_EQ(ServerRun(copy()).Connect(seen).value().epoch(), seen.epoch() + 1);
}

TEST_F(StoreRollbackTest, StoreThatWasOnlyRestartedIsFollowed) {
  v1::Fence seen;
  for (int64_t epoch = 1; epoch <= 3; ++epoch) {
    ServerRun run(original());
    run.Change();
    const absl::StatusOr<v1::Fence> told = run.Connect(seen);
    ASSERT_TRUE(told.ok()) << told.status();
    EXPECT_EQ(told->epoch(), epoch);
    seen = *told;
    seen.set_head_revision(run.Change());
  }
  EXPECT_TRUE(ServerRun(original()).Connect(seen).ok());
}

}  // namespace
}  // namespace nestor::server
