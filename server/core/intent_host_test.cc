#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/core/test_view.h"

namespace nestor::server {
namespace {

using ::testing::IsEmpty;

class HostIntentTest : public ::testing::Test {
 protected:
  void SetUp() override { state_.AddConnectedHost(); }

  // Refuses new machines on the host.
  void Cordon() {
    v1::UpdateHostRequest request;
    request.mutable_host()->set_name(kHost);
    request.mutable_host()->mutable_spec()->set_cordoned(true);
    ASSERT_TRUE(state_.Do<v1::Host>(UpdateHost(state_.view(), TestTime(1), request)).ok());
  }

  absl::StatusOr<Decision> DeleteH1(const std::string& etag = "", bool allow_missing = false) {
    v1::DeleteHostRequest request;
    request.set_name(kHost);
    request.set_etag(etag);
    request.set_allow_missing(allow_missing);
    return DeleteHost(state_.view(), request);
  }

  TestView state_;
};

TEST_F(HostIntentTest, CreateRepliesANeverSeenHost) {
  v1::CreateHostRequest request;
  request.mutable_host()->set_name("hosts/new");
  const auto reply =
      state_.Do<v1::Host>(CreateHost(state_.view(), TestTime(1), state_.uids(), request));
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->status().state(), v1::HostStatus::STATE_NEVER_SEEN);
  EXPECT_EQ(reply->metadata().generation(), 1);
  EXPECT_EQ(ErrorReason(CreateHost(state_.view(), TestTime(1), state_.uids(), request).status()),
            "ALREADY_EXISTS");
}

TEST_F(HostIntentTest, UpdateCordonsAsAGeneration) {
  Cordon();
  const v1::Host host = state_.view().HostResource(kHostId);
  EXPECT_TRUE(host.spec().cordoned());
  EXPECT_EQ(host.metadata().generation(), 2);
  EXPECT_EQ(host.status().state(), v1::HostStatus::STATE_CONNECTED);
  const int64_t revision = state_.view().head_revision();
  Cordon();
  EXPECT_EQ(state_.view().head_revision(), revision);
}

TEST_F(HostIntentTest, UpdateOfLabelsKeepsTheCordon) {
  Cordon();
  v1::UpdateHostRequest request;
  request.mutable_host()->set_name(kHost);
  (*request.mutable_host()->mutable_metadata()->mutable_labels())["rack"] = "7";
  request.mutable_update_mask()->add_paths("metadata.labels");
  const auto reply = state_.Do<v1::Host>(UpdateHost(state_.view(), TestTime(1), request));
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_TRUE(reply->spec().cordoned());
  EXPECT_EQ(reply->metadata().generation(), 2);
  EXPECT_EQ(reply->metadata().labels().at("rack"), "7");
}

TEST_F(HostIntentTest, DeleteIsRefusedWhileSomethingIsPlacedOrConnected) {
  EXPECT_EQ(ErrorReason(DeleteH1().status()), "HOST_CONNECTED");
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({})).ok());
  EXPECT_EQ(ErrorReason(DeleteH1().status()), "HAS_CHILDREN");
}

TEST_F(HostIntentTest, DeleteLeavesNothing) {
  state_.SetHostState(v1::HostStatus::STATE_UNKNOWN);
  ASSERT_TRUE(state_.Commit(DeleteH1()->transaction).ok());
  EXPECT_THAT(state_.rows(), IsEmpty());
  EXPECT_EQ(state_.view().FindHost(kHostId), nullptr);
  EXPECT_EQ(ErrorReason(DeleteH1().status()), "NOT_FOUND");
  EXPECT_TRUE(DeleteH1("", true)->changes_nothing());
}

TEST_F(HostIntentTest, DeleteIsDecidedAgainWhenAMachineComesOrAnAgentConnects) {
  state_.SetHostState(v1::HostStatus::STATE_UNKNOWN);
  const Transaction before_machine = DeleteH1()->transaction;
  const auto machine = state_.CreateMachine(WantedMachine({}));
  EXPECT_EQ(state_.Commit(before_machine).status().code(), absl::StatusCode::kAborted);
  v1::DeleteVirtualMachineRequest deletion;
  deletion.set_name(kMachine);
  ASSERT_TRUE(
      state_.Do<v1::VirtualMachine>(DeleteVirtualMachine(state_.view(), TestTime(2), deletion))
          .ok());
  ASSERT_TRUE(
      state_
          .Commit(Purge(state_.view(), TestTime(9), kHostId, {}, {{machine->metadata().uid(), 2}})
                      .transaction)
          .ok());
  const Transaction before_agent = DeleteH1()->transaction;
  storage::v1::EpochRow epoch;
  epoch.set_epoch(1);
  state_.Put(keys::Epoch(kHostId), epoch);
  EXPECT_EQ(state_.Commit(before_agent).status().code(), absl::StatusCode::kAborted);
}

TEST_F(HostIntentTest, DeleteWithAnEarlierEtagIsRefused) {
  state_.SetHostState(v1::HostStatus::STATE_UNKNOWN);
  const std::string etag = state_.view().HostResource(kHostId).metadata().etag();
  EXPECT_TRUE(DeleteH1(etag).ok());
  Cordon();
  EXPECT_EQ(ErrorReason(DeleteH1(etag).status()), "ETAG_MISMATCH");
}

}  // namespace
}  // namespace nestor::server
