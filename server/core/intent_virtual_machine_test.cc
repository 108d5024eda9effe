#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/core/test_view.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kNeighbour[] = "projects/p/virtualMachines/neighbour";

class VirtualMachineIntent : public ::testing::Test {
 protected:
  void SetUp() override { state_.AddConnectedHost(); }

  absl::StatusOr<v1::VirtualMachine> Update(const v1::VirtualMachine& machine,
                                            const std::vector<std::string>& mask = {}) {
    v1::UpdateVirtualMachineRequest request;
    *request.mutable_virtual_machine() = machine;
    for (const std::string& path : mask) request.mutable_update_mask()->add_paths(path);
    return state_.Do<v1::VirtualMachine>(
        UpdateVirtualMachine(state_.view(), TestTime(150), request));
  }

  absl::StatusOr<v1::VirtualMachine> Delete(bool force = false, const std::string& etag = "") {
    v1::DeleteVirtualMachineRequest request;
    request.set_name(kMachine);
    request.set_force(force);
    request.set_etag(etag);
    return state_.Do<v1::VirtualMachine>(
        DeleteVirtualMachine(state_.view(), TestTime(200), request));
  }

  std::string Owner(const std::string& device) {
    return state_.view().DeviceClaim(kHostId, device).holder;
  }

  // Refuses new machines on the host.
  void Cordon() {
    v1::UpdateHostRequest request;
    request.mutable_host()->set_name(kHost);
    request.mutable_host()->mutable_spec()->set_cordoned(true);
    ASSERT_TRUE(state_.Do<v1::Host>(UpdateHost(state_.view(), TestTime(1), request)).ok());
  }

  TestView state_;
};

TEST_F(VirtualMachineIntent, CreateRepliesWhatIsStored) {
  v1::VirtualMachine wanted = WantedMachine({kDevice});
  (*wanted.mutable_metadata()->mutable_labels())["tier"] = "gold";
  const auto reply = state_.CreateMachine(wanted);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->metadata().generation(), 1);
  EXPECT_EQ(reply->metadata().uid(), "uid-1");
  EXPECT_EQ(reply->status().state(), v1::VirtualMachineStatus::STATE_PENDING);
  EXPECT_EQ(reply->SerializeAsString(),
            state_.view().VirtualMachineResource(kMachine).SerializeAsString());
}

TEST_F(VirtualMachineIntent, CreateClaimsItsDevices) {
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({kDevice})).ok());
  EXPECT_EQ(Owner(kDevice), kMachine);
  EXPECT_EQ(Owner(kOtherDevice), "");
  const auto second = state_.CreateMachine(WantedMachine({kOtherDevice, kDevice}, kNeighbour));
  EXPECT_EQ(ErrorReason(second.status()), "DEVICE_IN_USE");
  EXPECT_THAT(second.status().message(), HasSubstr(kMachine));
  EXPECT_EQ(Owner(kOtherDevice), "");
}

TEST_F(VirtualMachineIntent, CreateOfAnExistingNameIsRefused) {
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({})).ok());
  EXPECT_EQ(ErrorReason(state_.CreateMachine(WantedMachine({})).status()), "ALREADY_EXISTS");
  ASSERT_TRUE(Delete().ok());
  EXPECT_EQ(ErrorReason(state_.CreateMachine(WantedMachine({})).status()), "DELETING");
}

TEST_F(VirtualMachineIntent, CreateNeedsADeclaredHost) {
  const auto reply = state_.CreateMachine(WantedMachine({}, kMachine, "hosts/none"));
  EXPECT_EQ(ErrorReason(reply.status()), "HOST_UNKNOWN");
}

TEST_F(VirtualMachineIntent, CreateOnACordonedHostIsRefused) {
  Cordon();
  EXPECT_EQ(ErrorReason(state_.CreateMachine(WantedMachine({})).status()), "HOST_CORDONED");
}

TEST_F(VirtualMachineIntent, CreateIsDecidedAgainWhenItsHostChanges) {
  v1::CreateVirtualMachineRequest request;
  *request.mutable_virtual_machine() = WantedMachine({});
  const auto decision = CreateVirtualMachine(state_.view(), TestTime(1), state_.uids(), request);
  Cordon();
  EXPECT_EQ(state_.Commit(decision->transaction).status().code(), absl::StatusCode::kAborted);
}

TEST_F(VirtualMachineIntent, CreateIsDecidedAgainWhenADeviceIsTaken) {
  v1::CreateVirtualMachineRequest request;
  *request.mutable_virtual_machine() = WantedMachine({kDevice});
  const auto decision = CreateVirtualMachine(state_.view(), TestTime(1), state_.uids(), request);
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({kDevice}, kNeighbour)).ok());
  EXPECT_EQ(state_.Commit(decision->transaction).status().code(), absl::StatusCode::kAborted);
}

TEST_F(VirtualMachineIntent, CreateWithADeviceThatTheHostHasNotIsRefused) {
  const auto reply = state_.CreateMachine(WantedMachine({"0000:99:00.0"}));
  EXPECT_EQ(ErrorReason(reply.status()), "DEVICE_UNSUITABLE");
}

TEST_F(VirtualMachineIntent, CreateOnAHostNeverSeenTakesAnyDevice) {
  state_.AddHost("h2");
  EXPECT_TRUE(state_.CreateMachine(WantedMachine({"0000:99:00.0"}, kMachine, "hosts/h2")).ok());
}

TEST_F(VirtualMachineIntent, UpdateMovesDevices) {
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({kDevice})).ok());
  const auto reply = Update(WantedMachine({kOtherDevice}));
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->metadata().generation(), 2);
  EXPECT_THAT(reply->spec().placement().devices(), ElementsAre(kOtherDevice));
  EXPECT_EQ(Owner(kDevice), "");
  EXPECT_EQ(Owner(kOtherDevice), kMachine);
}

TEST_F(VirtualMachineIntent, UpdateTakesNoDeviceOfAnother) {
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({kDevice})).ok());
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({kOtherDevice}, kNeighbour)).ok());
  EXPECT_EQ(ErrorReason(Update(WantedMachine({kDevice, kOtherDevice})).status()), "DEVICE_IN_USE");
}

TEST_F(VirtualMachineIntent, UpdateTakesNoDeviceAwayThatABindingUses) {
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({kDevice, kOtherDevice})).ok());
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 1)).ok());
  EXPECT_TRUE(Update(WantedMachine({kDevice})).ok());
  const auto reply = Update(WantedMachine({}));
  EXPECT_EQ(ErrorReason(reply.status()), "DEVICE_IN_USE");
  EXPECT_THAT(reply.status().message(), HasSubstr(BindingName("b")));
  ASSERT_TRUE(state_.DeleteBinding(BindingName("b")).ok());
  EXPECT_EQ(ErrorReason(Update(WantedMachine({})).status()), "DEVICE_IN_USE");
}

TEST_F(VirtualMachineIntent, UpdateIsDecidedAgainWhenABindingComesToTheDeviceTakenAway) {
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({kDevice})).ok());
  v1::UpdateVirtualMachineRequest request;
  *request.mutable_virtual_machine() = WantedMachine({});
  const auto decision = UpdateVirtualMachine(state_.view(), TestTime(1), request);
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 1)).ok());
  EXPECT_EQ(state_.Commit(decision->transaction).status().code(), absl::StatusCode::kAborted);
}

TEST_F(VirtualMachineIntent, UpdateOnACordonedHostGoesOn) {
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({})).ok());
  Cordon();
  EXPECT_TRUE(Update(WantedMachine({kDevice})).ok());
}

TEST_F(VirtualMachineIntent, UpdateOfLabelsKeepsGenerationAndDevices) {
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({kDevice})).ok());
  v1::VirtualMachine wanted;
  wanted.set_name(kMachine);
  (*wanted.mutable_metadata()->mutable_labels())["a"] = "1";
  const auto reply = Update(wanted, {"metadata.labels"});
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->metadata().generation(), 1);
  EXPECT_EQ(reply->metadata().labels().at("a"), "1");
  EXPECT_THAT(reply->spec().placement().devices(), ElementsAre(kDevice));
}

TEST_F(VirtualMachineIntent, UpdateOfMaskedDevicesKeepsLabels) {
  v1::VirtualMachine wanted = WantedMachine({kDevice});
  (*wanted.mutable_metadata()->mutable_labels())["a"] = "1";
  ASSERT_TRUE(state_.CreateMachine(wanted).ok());
  v1::VirtualMachine devices;
  devices.set_name(kMachine);
  devices.mutable_spec()->mutable_placement()->add_devices(kOtherDevice);
  const auto reply = Update(devices, {"spec.placement.devices"});
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->spec().placement().host(), kHost);
  EXPECT_THAT(reply->spec().placement().devices(), ElementsAre(kOtherDevice));
  EXPECT_EQ(reply->metadata().labels().at("a"), "1");
}

TEST_F(VirtualMachineIntent, UpdateToWhatIsStoredWritesNothing) {
  const auto created = state_.CreateMachine(WantedMachine({kDevice}));
  const int64_t revision = state_.view().head_revision();
  const auto reply = Update(*created);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(state_.view().head_revision(), revision);
  EXPECT_EQ(reply->SerializeAsString(), created->SerializeAsString());
}

TEST_F(VirtualMachineIntent, EtagOfAnEarlierStateIsRefused) {
  const auto created = state_.CreateMachine(WantedMachine({kDevice}));
  v1::VirtualMachine wanted = *created;
  wanted.mutable_spec()->mutable_placement()->clear_devices();
  ASSERT_TRUE(Update(wanted).ok());
  EXPECT_EQ(ErrorReason(Update(wanted).status()), "ETAG_MISMATCH");
  EXPECT_EQ(ErrorReason(Delete(false, created->metadata().etag()).status()), "ETAG_MISMATCH");
}

TEST_F(VirtualMachineIntent, MissingMachineIsNotFound) {
  EXPECT_EQ(ErrorReason(Update(WantedMachine({})).status()), "NOT_FOUND");
  EXPECT_EQ(ErrorReason(Delete().status()), "NOT_FOUND");
  v1::DeleteVirtualMachineRequest request;
  request.set_name(kMachine);
  request.set_allow_missing(true);
  EXPECT_TRUE(DeleteVirtualMachine(state_.view(), TestTime(1), request)->changes_nothing());
}

TEST_F(VirtualMachineIntent, DeleteWaitsForTheHost) {
  const auto created = state_.CreateMachine(WantedMachine({kDevice}));
  const auto deleted = Delete();
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_EQ(deleted->status().state(), v1::VirtualMachineStatus::STATE_DELETING);
  EXPECT_EQ(deleted->metadata().delete_time().seconds(), 200);
  EXPECT_EQ(Owner(kDevice), kMachine);
  EXPECT_EQ(ErrorReason(Update(WantedMachine({})).status()), "DELETING");
  ASSERT_TRUE(
      state_
          .Commit(Purge(state_.view(), TestTime(9), kHostId, {}, {{created->metadata().uid(), 2}})
                      .transaction)
          .ok());
  EXPECT_EQ(state_.view().FindVirtualMachine(kMachine), nullptr);
  EXPECT_EQ(Owner(kDevice), "");
}

TEST_F(VirtualMachineIntent, DeleteAgainRepliesTheSame) {
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({kDevice})).ok());
  const auto first = Delete();
  const int64_t revision = state_.view().head_revision();
  const auto second = Delete();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->SerializeAsString(), first->SerializeAsString());
  EXPECT_EQ(state_.view().head_revision(), revision);
}

TEST_F(VirtualMachineIntent, DeleteWithBindingsNeedsForce) {
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({kDevice})).ok());
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 1)).ok());
  EXPECT_EQ(ErrorReason(Delete().status()), "HAS_CHILDREN");
  ASSERT_TRUE(Delete(true).ok());
  const v1::PasidBinding binding = state_.view().PasidBindingResource(BindingName("b"));
  EXPECT_EQ(binding.status().state(), v1::PasidBindingStatus::STATE_DELETING);
  EXPECT_EQ(binding.metadata().revision(), state_.view().head_revision());
}

TEST_F(VirtualMachineIntent, DeleteIsDecidedAgainWhenABindingComes) {
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({kDevice})).ok());
  v1::DeleteVirtualMachineRequest request;
  request.set_name(kMachine);
  const auto decision = DeleteVirtualMachine(state_.view(), TestTime(1), request);
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 1)).ok());
  EXPECT_EQ(state_.Commit(decision->transaction).status().code(), absl::StatusCode::kAborted);
}

TEST_F(VirtualMachineIntent, DeleteOnAHostNeverSeenLeavesNothing) {
  state_.AddHost("h2");
  const auto before = state_.rows();
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({kDevice}, kMachine, "hosts/h2")).ok());
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 1)).ok());
  const auto deleted = Delete(true);
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_TRUE(deleted->metadata().has_delete_time());
  EXPECT_EQ(state_.rows(), before);
}

TEST_F(VirtualMachineIntent, DeleteOnASilentHostFreesNothing) {
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({kDevice})).ok());
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 1)).ok());
  state_.SetHostState(v1::HostStatus::STATE_UNKNOWN);
  ASSERT_TRUE(Delete(true).ok());
  EXPECT_EQ(Owner(kDevice), kMachine);
  EXPECT_EQ(state_.view().PasidClaim(kHostId, kDevice, 1).holder, BindingName("b"));
}

}  // namespace
}  // namespace nestor::server
