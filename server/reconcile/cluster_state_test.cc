#include "server/reconcile/cluster_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "api/support/errors.h"
#include "server/core/test_view.h"
#include "server/store/testing.h"

namespace nestor::server {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kRequestId[] = "0b9a1b1e-4f0e-4d4c-8f6a-0c8b1f0a7d10";
constexpr char kOtherRequestId[] = "1b9a1b1e-4f0e-4d4c-8f6a-0c8b1f0a7d10";

// Stands still unless moved.
class SteppedClock final : public Clock {
 public:
  absl::Time Now() const override { return absl::FromUnixSeconds(seconds_); }
  void Advance(absl::Duration duration) { seconds_ += absl::ToInt64Seconds(duration); }

 private:
  std::atomic<int64_t> seconds_ = 1'700'000'000;
};

Transaction PutOf(const std::string& key, const google::protobuf::Message& row) {
  Transaction transaction;
  transaction.puts.emplace_back(key, row.SerializeAsString());
  return transaction;
}

storage::v1::HostRow NewHostRow(const std::string& uid, uint32_t schema = 1) {
  storage::v1::HostRow row;
  row.mutable_metadata()->set_schema(schema);
  row.mutable_metadata()->set_uid(uid);
  row.mutable_metadata()->set_generation(1);
  return row;
}

// A decision that creates a host, whatever the view says.
absl::StatusOr<Decision> DecideHost(const std::string& id, int64_t expected_revision = 0) {
  Decision decision;
  decision.transaction = PutOf(keys::Host(id), NewHostRow("uid-of-" + id));
  decision.transaction.compares.push_back(Compare::Unchanged(keys::Host(id), expected_revision));
  auto host = std::make_shared<v1::Host>();
  host->set_name("hosts/" + id);
  decision.reply = std::move(host);
  return decision;
}

class ClusterStateTest : public ::testing::Test {
 protected:
  ClusterStateTest() { Load(); }

  void Load() {
    state_.reset();
    state_ = ClusterState::Load(*store_, clock_).value();
  }
  void Restart() {
    state_.reset();
    store_.Reopen();
    Load();
  }

  absl::StatusOr<Applied> Mutate(ClusterState::Decide decide,
                                 ClusterState::MutateOptions options = {}) {
    std::promise<absl::StatusOr<Applied>> answer;
    state_->Mutate(
        std::move(decide), std::move(options),
        [&answer](const absl::StatusOr<Applied>& applied) { answer.set_value(applied); });
    return answer.get_future().get();
  }
  absl::StatusOr<Applied> CreateHost(const std::string& id,
                                     ClusterState::MutateOptions options = {}) {
    return Mutate([id](const View&, absl::Time) { return DecideHost(id); }, std::move(options));
  }
  static ClusterState::MutateOptions WithId(const std::string& request_id, uint64_t hash) {
    return {.request_id = request_id, .scope = "p", .request_hash = hash};
  }

  bool HasHost(const std::string& id) {
    bool has = false;
    state_->Read([&](const View& view) { has = view.FindHost(id) != nullptr; });
    return has;
  }

  SteppedClock clock_;
  TemporaryStore store_;
  std::unique_ptr<ClusterState> state_;
};

TEST_F(ClusterStateTest, LoadsWhatWasStored) {
  ASSERT_TRUE(CreateHost("h1").ok());
  Restart();
  EXPECT_TRUE(HasHost("h1"));
  EXPECT_EQ(state_->HeadRevision(), store_->HeadRevision());
}

// The store's history begins at its head when it opens, and no row is as new as that.
TEST_F(ClusterStateTest, LoadsWhereTheNewestCommitOnlyDeleted) {
  ASSERT_TRUE(CreateHost("h1").ok());
  Transaction remove;
  remove.deletes.push_back(keys::Host("h1"));
  ASSERT_TRUE(CommitAndWait(*store_, remove).ok());
  Restart();
  EXPECT_FALSE(HasHost("h1"));
  EXPECT_EQ(state_->HeadRevision(), 2);
  EXPECT_TRUE(CreateHost("h2").ok());
  EXPECT_TRUE(HasHost("h2"));
}

TEST_F(ClusterStateTest, RowsThatItCannotReadAreRefusedAtLoad) {
  const std::vector<std::pair<Transaction, absl::string_view>> cases = {
      {PutOf("h/newer", NewHostRow("uid", 2)), "STORE_INCOMPATIBLE"},
      {PutOf("unheard/of", NewHostRow("uid")), "STORE_INCOMPATIBLE"},
  };
  for (const auto& [transaction, reason] : cases) {
    TemporaryStore store;
    ASSERT_TRUE(CommitAndWait(*store, transaction).ok());
    EXPECT_EQ(ErrorReason(ClusterState::Load(*store, clock_).status()), reason);
  }
  TemporaryStore store;
  Transaction garbage;
  garbage.puts.emplace_back("h/h1", "\xff\xff\xff");
  ASSERT_TRUE(CommitAndWait(*store, garbage).ok());
  EXPECT_EQ(ErrorReason(ClusterState::Load(*store, clock_).status()), "STORE_CORRUPT");
}

TEST_F(ClusterStateTest, DoneSeesItsOwnWrite) {
  std::promise<bool> seen;
  state_->Mutate([](const View&, absl::Time) { return DecideHost("h1"); }, {},
                 [&](const absl::StatusOr<Applied>& applied) {
                   ASSERT_TRUE(applied.ok());
                   seen.set_value(HasHost("h1"));
                 });
  EXPECT_TRUE(seen.get_future().get());
}

TEST_F(ClusterStateTest, ReplyCarriesTheRevisionOfItsCommit) {
  const auto applied = CreateHost("h1");
  ASSERT_TRUE(applied.ok());
  EXPECT_EQ(applied->revision, 1);
  EXPECT_EQ(dynamic_cast<const v1::Host&>(*applied->reply).metadata().revision(), 1);
}

TEST_F(ClusterStateTest, StaleDecisionIsMadeAgain) {
  ASSERT_TRUE(CreateHost("h1").ok());
  int decisions = 0;
  const auto applied = Mutate([&](const View& view, absl::Time) {
    return DecideHost("h1", ++decisions == 1 ? 0 : view.FindHost("h1")->revision);
  });
  EXPECT_TRUE(applied.ok()) << applied.status();
  EXPECT_EQ(decisions, 2);
}

TEST_F(ClusterStateTest, DecisionThatStaysStaleIsContention) {
  ASSERT_TRUE(CreateHost("h1").ok());
  const auto applied = Mutate([](const View&, absl::Time) { return DecideHost("h1", 0); });
  EXPECT_EQ(applied.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ErrorReason(applied.status()), "CONTENTION");
  EXPECT_EQ(state_->HeadRevision(), 1);
}

TEST_F(ClusterStateTest, RefusalIsNotTriedAgain) {
  int decisions = 0;
  const auto applied = Mutate([&](const View&, absl::Time) -> absl::StatusOr<Decision> {
    ++decisions;
    return errors::EtagMismatch("hosts/h1", "1");
  });
  EXPECT_EQ(ErrorReason(applied.status()), "ETAG_MISMATCH");
  EXPECT_EQ(decisions, 1);
}

TEST_F(ClusterStateTest, ChangingNothingCommitsNothing) {
  const auto applied = Mutate([](const View&, absl::Time) -> absl::StatusOr<Decision> {
    return Decision{{}, std::make_shared<v1::Host>()};
  });
  ASSERT_TRUE(applied.ok());
  EXPECT_EQ(applied->revision, 0);
  EXPECT_EQ(store_->HeadRevision(), 0);
}

TEST_F(ClusterStateTest, ValidateOnlyAnswersAndCommitsNothing) {
  ClusterState::MutateOptions options = WithId(kRequestId, 1);
  options.validate_only = true;
  const auto applied = CreateHost("h1", options);
  ASSERT_TRUE(applied.ok());
  EXPECT_EQ(dynamic_cast<const v1::Host&>(*applied->reply).name(), "hosts/h1");
  EXPECT_EQ(store_->HeadRevision(), 0);
}

TEST_F(ClusterStateTest, SameRequestGetsTheSameAnswerAlsoAfterARestart) {
  const auto first = CreateHost("h1", WithId(kRequestId, 7));
  ASSERT_TRUE(first.ok());
  for (int i = 0; i < 2; ++i) {
    // The decision would be another one by now.
    const auto again = CreateHost("h2", WithId(kRequestId, 7));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->reply->SerializeAsString(), first->reply->SerializeAsString());
    EXPECT_EQ(again->revision, first->revision);
    EXPECT_EQ(store_->HeadRevision(), 1);
    Restart();
  }
}

TEST_F(ClusterStateTest, OtherRequestUnderTheSameIdIsRefused) {
  ASSERT_TRUE(CreateHost("h1", WithId(kRequestId, 7)).ok());
  EXPECT_EQ(ErrorReason(CreateHost("h2", WithId(kRequestId, 8)).status()), "REQUEST_ID_REUSED");
  ClusterState::MutateOptions elsewhere = WithId(kRequestId, 8);
  elsewhere.scope = "q";
  EXPECT_TRUE(CreateHost("h2", elsewhere).ok());
}

TEST_F(ClusterStateTest, AnswersAreForgottenAfterAnHour) {
  ASSERT_TRUE(CreateHost("h1", WithId(kRequestId, 7)).ok());
  clock_.Advance(absl::Hours(1));
  EXPECT_TRUE(CreateHost("h2", WithId(kRequestId, 8)).ok());
  clock_.Advance(absl::Hours(1));
  ASSERT_TRUE(CreateHost("h3", WithId(kOtherRequestId, 9)).ok());
  state_->Read([](const View& view) {
    EXPECT_EQ(view.FindRequest(keys::Request("p", kRequestId)), nullptr);
    EXPECT_THAT(view.RequestsByAge("p"), SizeIs(1));
  });
}

TEST_F(ClusterStateTest, StoredAnswersOfAScopeAreBoundedInBytes) {
  constexpr size_t kReplyBytes = size_t{8} << 20;
  for (int i = 0; i < 10; ++i) {
    const auto applied = Mutate(
        [i](const View&, absl::Time) {
          auto decision = DecideHost(absl::StrCat("h", i));
          auto reply = std::make_shared<v1::Host>();
          reply->set_name(std::string(kReplyBytes, 'x'));
          decision->reply = std::move(reply);
          return decision;
        },
        WithId(absl::StrFormat("%08d-0000-4000-8000-000000000000", i), 1));
    ASSERT_TRUE(applied.ok()) << applied.status();
  }
  state_->Read([](const View& view) {
    EXPECT_LE(view.RequestBytes("p"), (size_t{64} << 20) + 2 * kReplyBytes);
    EXPECT_LT(view.RequestsByAge("p").size(), 10u);
    // The oldest went first.
    EXPECT_EQ(view.RequestsByAge("p").rbegin()->first, 10);
  });
}

// Each of them picks the lowest free PASID of the host, at the same time.
TEST_F(ClusterStateTest, ConcurrentPicksNeverCollide) {
  constexpr int kCallers = 200;
  ASSERT_TRUE(CreateHost(kHostId).ok());
  std::atomic<int> minted = 0;
  const UidSource uids = [&] { return absl::StrCat("uid-", ++minted); };
  ASSERT_TRUE(Mutate([&](const View& view, absl::Time now) {
                v1::CreateVirtualMachineRequest request;
                *request.mutable_virtual_machine() = WantedMachine({kDevice, kOtherDevice});
                return CreateVirtualMachine(view, now, uids, request);
              }).ok());
  std::vector<std::promise<absl::StatusOr<Applied>>> answers(kCallers);
  for (int i = 0; i < kCallers; ++i) {
    v1::CreatePasidBindingRequest request;
    *request.mutable_pasid_binding() = WantedAnyOf(BindingName(absl::StrCat("b", i)), 1, kCallers,
                                                   i % 2 == 0 ? kDevice : kOtherDevice);
    state_->Mutate(
        [request, &uids](const View& view, absl::Time now) {
          return CreatePasidBinding(view, now, uids, request);
        },
        {},
        [&answers, i](const absl::StatusOr<Applied>& applied) { answers[i].set_value(applied); });
  }
  std::set<uint32_t> pasids;
  for (auto& answer : answers) {
    const auto applied = answer.get_future().get();
    ASSERT_TRUE(applied.ok()) << applied.status();
    pasids.insert(
        dynamic_cast<const v1::PasidBinding&>(*applied->reply).status().effective_pasid());
  }
  EXPECT_THAT(pasids, SizeIs(kCallers));
}

TEST_F(ClusterStateTest, ConcurrentWritersOfOneResourceAllCommitOnce) {
  constexpr int kThreads = 4;
  constexpr int kWrites = 50;
  ASSERT_TRUE(CreateHost("h1").ok());
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  std::atomic<int> committed = 0;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < kWrites; ++n) {
        const auto applied = Mutate([](const View& view, absl::Time) {
          return DecideHost("h1", view.FindHost("h1")->revision);
        });
        EXPECT_TRUE(applied.ok()) << applied.status().message();
        committed += applied.ok() ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(committed, kThreads * kWrites);
  EXPECT_EQ(store_->HeadRevision(), 1 + kThreads * kWrites);
}

TEST_F(ClusterStateTest, ListenersHearWhatTheyAskedForUntilTheyEnd) {
  std::vector<std::string> all;
  std::vector<std::string> one;
  const auto names_to = [](std::vector<std::string>* names) {
    return [names](const std::vector<StateChange>& changes) {
      for (const StateChange& change : changes) names->push_back(change.name);
    };
  };
  auto everything = state_->Subscribe(names_to(&all));
  auto single = state_->SubscribeTo("hosts/h2", names_to(&one));
  ASSERT_TRUE(CreateHost("h1").ok());
  EXPECT_THAT(all, Contains("hosts/h1"));
  EXPECT_THAT(one, IsEmpty());
  ASSERT_TRUE(CreateHost("h2").ok());
  EXPECT_THAT(one, Contains("hosts/h2"));
  everything.reset();
  single.reset();
  ASSERT_TRUE(CreateHost("h3").ok());
  EXPECT_THAT(all, SizeIs(2));
}

TEST_F(ClusterStateTest, EndWaitsForTheMutationsThatBegan) {
  constexpr int kMutations = 100;
  std::atomic<int> done = 0;
  for (int i = 0; i < kMutations; ++i) {
    state_->Mutate(
        [i, attempt = std::make_shared<int>(0)](const View&, absl::Time) {
          // Stale at first, so that a commit follows on the first one.
          return DecideHost(absl::StrCat("h", i), ++*attempt == 1 ? 99 : 0);
        },
        {}, [&done](const absl::StatusOr<Applied>& applied) { done += applied.ok() ? 1 : 0; });
  }
  state_.reset();
  EXPECT_EQ(done, kMutations);
}

}  // namespace
}  // namespace nestor::server
