#include "server/core/view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "server/core/test_view.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ViewTest : public ::testing::Test {
 protected:
  void SetUp() override {
    state_.AddConnectedHost();
    ASSERT_TRUE(state_.CreateMachine(WantedMachine()).ok());
    ASSERT_TRUE(state_.CreateBinding(WantedBinding(name_, 7)).ok());
  }

  v1::PasidBinding Binding() { return state_.view().PasidBindingResource(name_); }
  v1::VirtualMachine Machine() { return state_.view().VirtualMachineResource(kMachine); }

  void ObserveProgrammed(int64_t generation) {
    v1::PasidBindingStatus status;
    status.set_state(v1::PasidBindingStatus::STATE_PROGRAMMED);
    status.set_observed_generation(generation);
    status.set_programmed_generation(generation);
    status.set_programmed_root(0x1000);
    status.mutable_times()->mutable_accepted()->set_seconds(110);
    state_.Observe(name_, status);
  }

  const std::string name_ = BindingName("b");
  TestView state_;
};

TEST_F(ViewTest, FindsByNameAndUid) {
  const std::string uid = Binding().metadata().uid();
  EXPECT_EQ(state_.view().PasidBindingByUid(uid), name_);
  EXPECT_EQ(state_.view().VirtualMachineByUid(Machine().metadata().uid()), kMachine);
  EXPECT_EQ(state_.view().PasidBindingByUid("none"), "");
  EXPECT_THAT(state_.view().BindingsOf(kMachine), ElementsAre(name_));
  EXPECT_TRUE(state_.view().HasBindings(kMachine));
  EXPECT_FALSE(state_.view().HasBindings("projects/p/virtualMachines/v"));
}

TEST_F(ViewTest, WhatIsMissingIsNullOrEmpty) {
  const View view;
  EXPECT_EQ(view.FindHost("h1"), nullptr);
  EXPECT_EQ(view.FindVirtualMachine(kMachine), nullptr);
  EXPECT_FALSE(view.FindPasidBinding(name_).has_value());
  EXPECT_EQ(view.HostResource("h1").name(), "");
  EXPECT_EQ(view.DeviceResource("h1", kDevice).name(), "");
  EXPECT_EQ(view.DeviceClaim("h1", kDevice).revision, 0);
  EXPECT_EQ(view.PasidClaim("h1", kDevice, 1).holder, "");
  EXPECT_EQ(view.Epoch("h1").revision, 0);
  EXPECT_THAT(view.RequestsByAge("scope"), IsEmpty());
  EXPECT_EQ(view.head_revision(), 0);
}

TEST_F(ViewTest, RevisionOfAResourceIsThatOfItsIntent) {
  const int64_t revision = Binding().metadata().revision();
  const std::string etag = Binding().metadata().etag();
  ObserveProgrammed(1);
  EXPECT_GT(state_.view().head_revision(), revision);
  EXPECT_EQ(Binding().metadata().revision(), revision);
  EXPECT_EQ(Binding().metadata().etag(), etag);
}

TEST_F(ViewTest, DeviceShowsItsOwner) {
  EXPECT_EQ(state_.view().DeviceResource(kHostId, kDevice).status().virtual_machine(), kMachine);
  EXPECT_EQ(state_.view().DeviceResource(kHostId, kOtherDevice).status().virtual_machine(), "");
}

TEST_F(ViewTest, ProgrammedHoldsForItsGenerationOnly) {
  ObserveProgrammed(1);
  EXPECT_EQ(Binding().status().state(), v1::PasidBindingStatus::STATE_PROGRAMMED);
  EXPECT_EQ(Machine().status().bindings(), 1);
  EXPECT_EQ(Machine().status().programmed_bindings(), 1);

  v1::UpdatePasidBindingRequest request;
  *request.mutable_pasid_binding() = WantedBinding(name_, 7);
  request.mutable_pasid_binding()->mutable_spec()->mutable_page_table()->set_root(0x2000);
  ASSERT_TRUE(
      state_.Do<v1::PasidBinding>(UpdatePasidBinding(state_.view(), TestTime(150), request)).ok());
  EXPECT_EQ(Binding().status().state(), v1::PasidBindingStatus::STATE_PERSISTED);
  EXPECT_FALSE(Binding().status().times().has_accepted());
  EXPECT_EQ(Binding().status().times().persisted().seconds(), 150);
  // What the kernel walks meanwhile.
  EXPECT_EQ(Binding().status().programmed_root(), 0x1000u);
  EXPECT_EQ(Binding().status().programmed_generation(), 1);
  EXPECT_EQ(Machine().status().programmed_bindings(), 0);
}

TEST_F(ViewTest, ConditionsFollowTheRungs) {
  const auto truths = [&] {
    std::vector<std::string> result;
    const v1::PasidBinding binding = Binding();
    for (const auto& condition : binding.status().conditions()) {
      result.push_back(absl::StrCat(condition.type(), " ",
                                    v1::Condition::Truth_Name(condition.status()), " ",
                                    condition.reason()));
    }
    return result;
  };
  EXPECT_THAT(truths(), ElementsAre("Accepted TRUTH_FALSE WAITING_FOR_AGENT",
                                    "Programmed TRUTH_FALSE WAITING"));
  ObserveProgrammed(1);
  EXPECT_THAT(truths(),
              ElementsAre("Accepted TRUTH_TRUE ACCEPTED", "Programmed TRUTH_TRUE PROGRAMMED"));
  state_.SetHostState(v1::HostStatus::STATE_UNKNOWN);
  EXPECT_THAT(truths(), ElementsAre("Accepted TRUTH_UNKNOWN HOST_UNKNOWN",
                                    "Programmed TRUTH_UNKNOWN HOST_UNKNOWN"));
}

TEST_F(ViewTest, SilentHostMakesItsResourcesUnknown) {
  ObserveProgrammed(1);
  state_.SetHostState(v1::HostStatus::STATE_UNKNOWN);
  EXPECT_EQ(Binding().status().state(), v1::PasidBindingStatus::STATE_UNKNOWN);
  EXPECT_EQ(Machine().status().state(), v1::VirtualMachineStatus::STATE_UNKNOWN);
  state_.SetHostState(v1::HostStatus::STATE_CONNECTED);
  EXPECT_EQ(Binding().status().state(), v1::PasidBindingStatus::STATE_PROGRAMMED);
}

TEST_F(ViewTest, CountsAreOfTheStatesThatResourcesShow) {
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("c"), 8)).ok());
  const auto counted = [&](v1::PasidBindingStatus::State state) {
    return state_.view().CountStates().bindings[state];
  };
  EXPECT_EQ(counted(v1::PasidBindingStatus::STATE_PERSISTED), 2);
  ObserveProgrammed(1);
  EXPECT_EQ(counted(v1::PasidBindingStatus::STATE_PERSISTED), 1);
  EXPECT_EQ(counted(v1::PasidBindingStatus::STATE_PROGRAMMED), 1);
  ASSERT_TRUE(state_.DeleteBinding(BindingName("c")).ok());
  state_.SetHostState(v1::HostStatus::STATE_UNKNOWN);
  EXPECT_EQ(counted(v1::PasidBindingStatus::STATE_DELETING), 1);
  EXPECT_EQ(counted(v1::PasidBindingStatus::STATE_UNKNOWN), 1);
  EXPECT_EQ(counted(v1::PasidBindingStatus::STATE_PROGRAMMED), 0);
  EXPECT_EQ(state_.view().CountStates().hosts[v1::HostStatus::STATE_UNKNOWN], 1);
  EXPECT_EQ(state_.view().CountStates().virtual_machines[v1::VirtualMachineStatus::STATE_UNKNOWN],
            1);
  state_.Delete(keys::PasidBinding(*PasidBindingName::Parse(name_)));
  state_.Delete(keys::PasidBinding(*PasidBindingName::Parse(BindingName("c"))));
  EXPECT_EQ(state_.view().CountStates().bindings, BindingCounts{});
}

TEST_F(ViewTest, StateOfANewerVersionIsNeitherShownNorCounted) {
  state_.SetHostState(static_cast<v1::HostStatus::State>(77));
  storage::v1::VirtualMachineObservedRow machine;
  machine.set_uid(Machine().metadata().uid());
  machine.mutable_status()->set_state(static_cast<v1::VirtualMachineStatus::State>(77));
  state_.Put(keys::VirtualMachineObserved(*VirtualMachineName::Parse(kMachine)), machine);
  v1::PasidBindingStatus status;
  status.set_observed_generation(1);
  status.set_state(static_cast<v1::PasidBindingStatus::State>(77));
  state_.Observe(name_, status);
  EXPECT_TRUE(v1::PasidBindingStatus::State_IsValid(Binding().status().state()));
  EXPECT_TRUE(v1::VirtualMachineStatus::State_IsValid(Machine().status().state()));
  const BindingCounts counts = state_.view().CountStates().bindings;
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), int64_t{0}), 1);
}

TEST_F(ViewTest, DeletionShowsThroughSilence) {
  ASSERT_TRUE(state_.DeleteBinding(name_).ok());
  state_.SetHostState(v1::HostStatus::STATE_UNKNOWN);
  EXPECT_EQ(Binding().status().state(), v1::PasidBindingStatus::STATE_DELETING);
}

TEST_F(ViewTest, ObservationOfAnEarlierLifeIsNothing) {
  storage::v1::PasidBindingObservedRow row;
  row.set_uid("an earlier life");
  row.mutable_status()->set_state(v1::PasidBindingStatus::STATE_PROGRAMMED);
  row.mutable_status()->set_observed_generation(1);
  state_.Put(keys::PasidBindingObserved(*PasidBindingName::Parse(name_)), row);
  EXPECT_EQ(Binding().status().state(), v1::PasidBindingStatus::STATE_PERSISTED);
}

TEST_F(ViewTest, DeletedRowsLeaveTheIndexes) {
  const std::string uid = Binding().metadata().uid();
  state_.Delete(keys::PasidBinding(*PasidBindingName::Parse(name_)));
  state_.Delete(keys::PasidClaim(kHostId, kDevice, 7));
  EXPECT_EQ(state_.view().PasidBindingByUid(uid), "");
  EXPECT_THAT(state_.view().BindingsOf(kMachine), IsEmpty());
  EXPECT_EQ(state_.view().PasidClaim(kHostId, kDevice, 7).revision, 0);
  state_.Delete(keys::VirtualMachine(*VirtualMachineName::Parse(kMachine)));
  EXPECT_THAT(state_.view().FindHost(kHostId)->virtual_machines, IsEmpty());
}

TEST_F(ViewTest, EpochsAndRequestsAreKept) {
  storage::v1::EpochRow epoch;
  epoch.set_epoch(4);
  state_.Put(keys::Epoch(kHostId), epoch);
  EXPECT_EQ(state_.view().Epoch(kHostId).epoch, 4);
  EXPECT_EQ(state_.view().Epoch(kHostId).revision, state_.view().head_revision());

  const std::string key = keys::Request("projects/p", "id-1");
  storage::v1::RequestRow request;
  request.set_request_hash(9);
  state_.Put(key, request);
  ASSERT_NE(state_.view().FindRequest(key), nullptr);
  EXPECT_EQ(state_.view().FindRequest(key)->row.request_hash(), 9u);
  EXPECT_THAT(state_.view().RequestsByAge("projects/p"),
              ElementsAre(std::make_pair(state_.view().head_revision(), key)));
  state_.Delete(key);
  EXPECT_EQ(state_.view().FindRequest(key), nullptr);
  EXPECT_THAT(state_.view().RequestsByAge("projects/p"), IsEmpty());
}

// What each kind of row says has changed.
class ViewChanges : public ::testing::Test {
 protected:
  std::vector<StateChange> Feed(const std::string& key, const google::protobuf::Message& row) {
    return Feed({++revision_, key, row.SerializeAsString()});
  }
  std::vector<StateChange> Feed(const StoreEvent& event) {
    std::vector<StateChange> changes;
    status_ = view_.Apply(event, &changes);
    return changes;
  }

  View view_;
  int64_t revision_ = 0;
  absl::Status status_;
};

TEST_F(ViewChanges, TellIntentFromObservation) {
  storage::v1::HostRow host;
  host.mutable_metadata()->set_uid("u");
  auto changes = Feed("h/h1", host);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].kind, ResourceKind::kHost);
  EXPECT_EQ(changes[0].name, "hosts/h1");
  EXPECT_EQ(changes[0].revision, 1);
  EXPECT_TRUE(changes[0].intent);
  EXPECT_FALSE(changes[0].deleted);

  changes = Feed("oh/h1", storage::v1::HostObservedRow());
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_FALSE(changes[0].intent);

  changes = Feed("od/h1/0000:3b:00.0", storage::v1::DeviceObservedRow());
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].kind, ResourceKind::kDevice);
  EXPECT_EQ(changes[0].name, "hosts/h1/devices/0000:3b:00.0");

  changes = Feed({++revision_, "h/h1", std::nullopt});
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_TRUE(changes[0].deleted);
  EXPECT_EQ(changes[0].uid, "u");
  EXPECT_EQ(view_.head_revision(), 4);
}

TEST_F(ViewChanges, ClaimsEpochsAndRequestsAreNoResource) {
  EXPECT_THAT(Feed("d/h1/0000:3b:00.0", storage::v1::ClaimRow()), IsEmpty());
  EXPECT_THAT(Feed("p/h1/0000:3b:00.0/00000007", storage::v1::ClaimRow()), IsEmpty());
  EXPECT_THAT(Feed("e/h1", storage::v1::EpochRow()), IsEmpty());
  EXPECT_THAT(Feed("r/projects/p/id", storage::v1::RequestRow()), IsEmpty());
  EXPECT_EQ(status_, absl::OkStatus());
}

TEST_F(ViewChanges, RowThatDoesNotParseIsDataLoss) {
  for (const char* key : {"h/h1", "oh/h1", "od/h1/0000:3b:00.0", "v/p/vm", "b/p/vm/b", "e/h1",
                          "d/h1/0000:3b:00.0", "r/s/id"}) {
    Feed({++revision_, key, "\xff\xff"});
    EXPECT_EQ(status_.code(), absl::StatusCode::kDataLoss) << key;
  }
}

TEST_F(ViewChanges, RowOfANewerLayoutIsRefused) {
  storage::v1::PasidBindingRow row;
  row.mutable_metadata()->set_schema(2);
  Feed("b/p/vm/b", row);
  EXPECT_EQ(ErrorReason(status_), "STORE_INCOMPATIBLE");
  Feed({++revision_, "x/unknown", ""});
  EXPECT_EQ(ErrorReason(status_), "STORE_INCOMPATIBLE");
}

TEST_F(ViewChanges, RowOfAKeyOutOfFormIsRefused) {
  for (const char* key : {"", "h", "h/", "oh/h1/x", "e/-", "od/h1", "d/h1/0000:3b:00.0/7", "v/p",
                          "v/../vm", "ov/p/vm/b", "b/p/vm", "ob/p/vm/-", "p/h1/0000:3b:00.0",
                          "p/h1/0000:3b:00.0/x", "r", "r/id", "s/7", "s/"}) {
    Feed({++revision_, key, ""});
    EXPECT_EQ(ErrorReason(status_), "STORE_INCOMPATIBLE") << key;
  }
  EXPECT_TRUE(view_.pasid_bindings().empty());
}

TEST(Etag, IsOfTheContentAlone) {
  storage::v1::HostRow a;
  storage::v1::HostRow b;
  for (const char* key : {"x", "y", "z"}) (*a.mutable_metadata()->mutable_labels())[key] = key;
  for (const char* key : {"z", "y", "x"}) (*b.mutable_metadata()->mutable_labels())[key] = key;
  EXPECT_EQ(Etag(a), Etag(b));
  b.mutable_spec()->set_cordoned(true);
  EXPECT_NE(Etag(a), Etag(b));
}

TEST(StampRevision, SetsOnlyWhatHasNone) {
  v1::ApplyVirtualMachineResponse reply;
  reply.add_pasid_bindings()->mutable_metadata()->set_revision(3);
  reply.add_pasid_bindings();
  StampRevision(8, &reply);
  EXPECT_EQ(reply.revision(), 8);
  EXPECT_EQ(reply.virtual_machine().metadata().revision(), 8);
  EXPECT_EQ(reply.pasid_bindings(0).metadata().revision(), 3);
  EXPECT_EQ(reply.pasid_bindings(1).metadata().revision(), 8);
}

}  // namespace
}  // namespace nestor::server
