#include "server/reconcile/watch_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "api/support/errors.h"
#include "server/core/test_view.h"
#include "server/store/testing.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class WatchHistoryTest : public ::testing::Test {
 protected:
  // `capacity` is that of the history.
  void Start(size_t capacity = 100) {
    history_.reset();
    state_.reset();
    state_ = ClusterState::Load(*store_, clock_).value();
    history_ = std::make_unique<WatchHistory>(*state_, capacity);
  }
  void Restart() {
    history_.reset();
    state_.reset();
    store_.Reopen();
    Start();
  }

  // One commit that writes these hosts.
  int64_t PutHosts(const std::vector<std::string>& ids) {
    Transaction transaction;
    for (const std::string& id : ids) {
      storage::v1::HostRow row;
      row.mutable_metadata()->set_schema(1);
      transaction.puts.emplace_back(keys::Host(id), row.SerializeAsString());
    }
    return CommitAndWait(*store_, transaction).value();
  }

  // Names from `sequence` on.
  std::vector<std::string> From(int64_t sequence) {
    std::vector<std::string> names;
    while (true) {
      const auto entry = history_->Get(sequence++);
      if (!entry.ok() || !entry->has_value()) return names;
      names.push_back((*entry)->change.name);
    }
  }
  // Names after the `count`-th change, as one who resumes there gets them.
  absl::StatusOr<std::vector<std::string>> ResumeAfter(const std::string& token) {
    auto position = history_->ParseToken(token);
    if (!position.ok()) return position.status();
    auto sequence = history_->FindAfter(*position);
    if (!sequence.ok()) return sequence.status();
    return From(*sequence);
  }
  std::string TokenOf(int64_t sequence) {
    return history_->MakeToken((**history_->Get(sequence)).position);
  }

  SystemClock clock_;
  TemporaryStore store_;
  std::unique_ptr<ClusterState> state_;
  std::unique_ptr<WatchHistory> history_;
};

TEST_F(WatchHistoryTest, KeepsChangesInOrder) {
  Start();
  const int64_t begin = history_->end();
  PutHosts({"a"});
  PutHosts({"b", "c"});
  EXPECT_THAT(From(begin), ElementsAre("hosts/a", "hosts/b", "hosts/c"));
}

TEST_F(WatchHistoryTest, ResumesAfterEachChangeAlsoWithinACommit) {
  Start();
  const int64_t begin = history_->end();
  PutHosts({"a", "b", "c"});
  PutHosts({"d"});
  EXPECT_THAT(*ResumeAfter(TokenOf(begin)), ElementsAre("hosts/b", "hosts/c", "hosts/d"));
  EXPECT_THAT(*ResumeAfter(TokenOf(begin + 1)), ElementsAre("hosts/c", "hosts/d"));
  EXPECT_THAT(*ResumeAfter(TokenOf(begin + 2)), ElementsAre("hosts/d"));
  EXPECT_THAT(*ResumeAfter(TokenOf(begin + 3)), IsEmpty());
}

// Epochs, claims and stored answers move the head, and no change tells of them.
TEST_F(WatchHistoryTest, ResumesAtARevisionWithoutChanges) {
  Start();
  Transaction epoch;
  epoch.puts.emplace_back(keys::Epoch("h1"), storage::v1::EpochRow().SerializeAsString());
  const int64_t revision = CommitAndWait(*store_, epoch).value();
  const auto resumed = ResumeAfter(history_->MakeToken({revision}));
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_THAT(*resumed, IsEmpty());
}

TEST_F(WatchHistoryTest, ResumesAfterARestartWhereNothingWasMissed) {
  Start();
  PutHosts({"a"});
  PutHosts({"b", "c"});
  const std::string before_last = TokenOf(history_->end() - 3);
  const std::string within_last = TokenOf(history_->end() - 2);
  const std::string last = TokenOf(history_->end() - 1);
  Restart();
  PutHosts({"d"});
  EXPECT_THAT(*ResumeAfter(last), ElementsAre("hosts/d"));
  EXPECT_EQ(ErrorReason(ResumeAfter(within_last).status()), "REVISION_COMPACTED");
  EXPECT_EQ(ErrorReason(ResumeAfter(before_last).status()), "REVISION_COMPACTED");
}

TEST_F(WatchHistoryTest, FullHistoryForgetsTheOldest) {
  Start(3);
  const int64_t begin = history_->end();
  const int64_t first = PutHosts({"a"});
  PutHosts({"b", "c"});
  const std::string within = TokenOf(begin + 1);
  const int64_t third = PutHosts({"d", "e"});
  // a and b are forgotten.
  EXPECT_EQ(ErrorReason(history_->Get(begin + 1).status()), "REVISION_COMPACTED");
  EXPECT_THAT(From(begin + 2), ElementsAre("hosts/c", "hosts/d", "hosts/e"));
  EXPECT_EQ(ErrorReason(ResumeAfter(history_->MakeToken({first})).status()), "REVISION_COMPACTED");
  EXPECT_EQ(ErrorReason(ResumeAfter(within).status()), "REVISION_COMPACTED");
  EXPECT_THAT(*ResumeAfter(history_->MakeToken({third - 1})), ElementsAre("hosts/d", "hosts/e"));
}

TEST_F(WatchHistoryTest, TokenOfAnotherLifeOfTheStoreIsTooOld) {
  Start();
  const std::string forged = absl::WebSafeBase64Escape("another-store:0:0");
  EXPECT_EQ(ErrorReason(history_->ParseToken(forged).status()), "REVISION_COMPACTED");
  EXPECT_EQ(ErrorReason(ResumeAfter(history_->MakeToken({1000})).status()), "REVISION_COMPACTED");
}

TEST_F(WatchHistoryTest, WhatIsNoTokenIsRefused) {
  Start();
  const std::string incarnation = store_->Incarnation();
  for (const std::string& text : {incarnation, incarnation + ":1", incarnation + ":-1:0",
                                  incarnation + ":1:x", incarnation + ":1:0:0"}) {
    const auto status = history_->ParseToken(absl::WebSafeBase64Escape(text)).status();
    EXPECT_THAT(WrongFields(status), ElementsAre("resume_token")) << text;
  }
  EXPECT_THAT(WrongFields(history_->ParseToken("~~~").status()), ElementsAre("resume_token"));
}

}  // namespace
}  // namespace nestor::server
