#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/core/test_view.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A connected host with a machine that owns both devices.
class PasidBindingIntent : public ::testing::Test {
 protected:
  void SetUp() override {
    state_.AddConnectedHost();
    ASSERT_TRUE(state_.CreateMachine(WantedMachine({kDevice, kOtherDevice})).ok());
  }

  absl::StatusOr<v1::PasidBinding> Update(const v1::PasidBinding& binding,
                                          const std::vector<std::string>& mask = {}) {
    v1::UpdatePasidBindingRequest request;
    *request.mutable_pasid_binding() = binding;
    for (const std::string& path : mask) request.mutable_update_mask()->add_paths(path);
    const int64_t before = state_.view().head_revision();
    auto decision = UpdatePasidBinding(state_.view(), TestTime(150), request);
    auto reply = state_.Do<v1::PasidBinding>(decision);
    wrote_ = state_.view().head_revision() != before;
    return reply;
  }

  std::string Holder(uint32_t pasid, const std::string& device = kDevice) {
    return state_.view().PasidClaim(kHostId, device, pasid).holder;
  }

  TestView state_;
  bool wrote_ = false;
};

TEST_F(PasidBindingIntent, CreateRepliesWhatIsStored) {
  v1::PasidBinding wanted = WantedBinding(BindingName("b"), 7);
  (*wanted.mutable_metadata()->mutable_labels())["tier"] = "gold";
  const auto reply = state_.CreateBinding(wanted);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->metadata().uid(), "uid-2");
  EXPECT_EQ(reply->metadata().generation(), 1);
  EXPECT_EQ(reply->metadata().labels().at("tier"), "gold");
  EXPECT_EQ(reply->metadata().create_time().seconds(), 100);
  EXPECT_EQ(reply->status().effective_pasid(), 7u);
  EXPECT_EQ(reply->status().state(), v1::PasidBindingStatus::STATE_PERSISTED);
  EXPECT_EQ(reply->status().times().persisted().seconds(), 100);
  EXPECT_EQ(reply->SerializeAsString(),
            state_.view().PasidBindingResource(BindingName("b")).SerializeAsString());
}

TEST_F(PasidBindingIntent, CreateClaimsItsPasid) {
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 7)).ok());
  EXPECT_EQ(Holder(7), BindingName("b"));
  const auto second = state_.CreateBinding(WantedBinding(BindingName("c"), 7));
  EXPECT_EQ(ErrorReason(second.status()), "PASID_IN_USE");
  EXPECT_THAT(second.status().message(), HasSubstr(BindingName("b")));
}

TEST_F(PasidBindingIntent, CreateTakesTheSamePasidOfAnotherDevice) {
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 7)).ok());
  EXPECT_TRUE(state_.CreateBinding(WantedBinding(BindingName("c"), 7, kOtherDevice)).ok());
}

TEST_F(PasidBindingIntent, CreateOfAnExistingNameIsRefused) {
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 7)).ok());
  const auto again = state_.CreateBinding(WantedBinding(BindingName("b"), 8));
  EXPECT_EQ(ErrorReason(again.status()), "ALREADY_EXISTS");
}

TEST_F(PasidBindingIntent, CreateOfANameThatIsBeingDeletedIsRefused) {
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 7)).ok());
  ASSERT_TRUE(state_.DeleteBinding(BindingName("b")).ok());
  const auto again = state_.CreateBinding(WantedBinding(BindingName("b"), 8));
  EXPECT_EQ(ErrorReason(again.status()), "DELETING");
}

TEST_F(PasidBindingIntent, CreateNeedsItsMachine) {
  const auto reply =
      state_.CreateBinding(WantedBinding("projects/p/virtualMachines/none/pasidBindings/b", 1));
  EXPECT_EQ(reply.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(reply.status().message(), HasSubstr("virtualMachines/none"));
}

TEST_F(PasidBindingIntent, CreateUnderAMachineThatIsBeingDeletedIsRefused) {
  v1::DeleteVirtualMachineRequest request;
  request.set_name(kMachine);
  ASSERT_TRUE(
      state_.Do<v1::VirtualMachine>(DeleteVirtualMachine(state_.view(), TestTime(120), request))
          .ok());
  const auto reply = state_.CreateBinding(WantedBinding(BindingName("b"), 1));
  EXPECT_EQ(ErrorReason(reply.status()), "DELETING");
}

TEST_F(PasidBindingIntent, CreateOnADeviceOfNobodyIsRefused) {
  const auto reply = state_.CreateBinding(WantedBinding(BindingName("b"), 1, "0000:99:00.0"));
  EXPECT_EQ(ErrorReason(reply.status()), "DEVICE_NOT_OWNED");
}

TEST_F(PasidBindingIntent, CreateOnADeviceThatCannotNestSaysWhy) {
  storage::v1::DeviceObservedRow row;
  row.mutable_status()->set_nest_granularity(v1::NEST_GRANULARITY_NONE);
  row.mutable_status()->set_reason("NESTING_UNSUPPORTED");
  row.mutable_status()->set_message("the IOMMU has no nested translation");
  state_.Put(keys::DeviceObserved(kHostId, kDevice), row);
  const auto reply = state_.CreateBinding(WantedBinding(BindingName("b"), 1));
  EXPECT_EQ(ErrorReason(reply.status()), "DEVICE_UNSUITABLE");
  EXPECT_THAT(reply.status().message(), HasSubstr("the IOMMU has no nested translation"));
}

TEST_F(PasidBindingIntent, CreateOnADeviceThatTheHostLostIsRefused) {
  state_.Delete(keys::DeviceObserved(kHostId, kDevice));
  const auto reply = state_.CreateBinding(WantedBinding(BindingName("b"), 1));
  EXPECT_EQ(ErrorReason(reply.status()), "DEVICE_UNSUITABLE");
}

TEST_F(PasidBindingIntent, CreateBeyondThePasidBitsOfTheDeviceIsRefused) {
  state_.AddDevice(kDevice, kHostId, 4);
  EXPECT_TRUE(state_.CreateBinding(WantedBinding(BindingName("highest"), 15)).ok());
  const auto reply = state_.CreateBinding(WantedBinding(BindingName("b"), 16));
  EXPECT_THAT(WrongFields(reply.status()), ElementsAre("pasid_binding.spec.pasid"));
}

TEST_F(PasidBindingIntent, CreateTakesRidOnce) {
  v1::PasidBinding wanted = WantedBinding(BindingName("b"), 1);
  wanted.mutable_spec()->mutable_rid();
  const auto reply = state_.CreateBinding(wanted);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->status().effective_pasid(), 0u);
  wanted.set_name(BindingName("c"));
  EXPECT_EQ(ErrorReason(state_.CreateBinding(wanted).status()), "PASID_IN_USE");
}

TEST_F(PasidBindingIntent, CreateOnAHostNeverSeenTakesWhatTheMachineOwns) {
  state_.AddHost("h2");
  const std::string machine = "projects/p/virtualMachines/early";
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({kDevice}, machine, "hosts/h2")).ok());
  EXPECT_TRUE(state_.CreateBinding(WantedBinding(machine + "/pasidBindings/b", 1048575)).ok());
}

struct PickCase {
  const char* sentence;
  std::vector<uint32_t> taken_here;
  std::vector<uint32_t> taken_on_the_other_device;
  uint32_t first;
  uint32_t last;
  uint32_t picked;  // 0: refused
  const char* refusal = "";
};

class PickPasid : public PasidBindingIntent, public ::testing::WithParamInterface<PickCase> {};

TEST_P(PickPasid, AsTheSentenceSays) {
  const PickCase& test = GetParam();
  state_.AddDevice(kDevice, kHostId, 4);
  for (const uint32_t pasid : test.taken_here) {
    ASSERT_TRUE(
        state_.CreateBinding(WantedBinding(BindingName(absl::StrCat("a", pasid)), pasid)).ok());
  }
  for (const uint32_t pasid : test.taken_on_the_other_device) {
    ASSERT_TRUE(state_
                    .CreateBinding(
                        WantedBinding(BindingName(absl::StrCat("o", pasid)), pasid, kOtherDevice))
                    .ok());
  }
  const auto reply = state_.CreateBinding(WantedAnyOf(BindingName("b"), test.first, test.last));
  EXPECT_EQ(ErrorReason(reply.status()), test.refusal) << test.sentence;
  if (!reply.ok()) return;
  EXPECT_EQ(reply->status().effective_pasid(), test.picked) << test.sentence;
  EXPECT_EQ(Holder(test.picked), BindingName("b"));
}

INSTANTIATE_TEST_SUITE_P(
    Rules, PickPasid,
    ::testing::Values(
        PickCase{"the first of the range where none is taken", {}, {}, 5, 9, 5},
        PickCase{"the lowest gap", {5, 6, 8}, {}, 5, 9, 7},
        PickCase{"taken below the range does not count", {1, 2}, {}, 5, 9, 5},
        PickCase{"one that is free on the whole host is better", {}, {5}, 5, 9, 6},
        PickCase{"else one that is free on the device", {5}, {6, 7}, 5, 7, 6},
        PickCase{"the last one", {5, 6}, {}, 5, 7, 7},
        PickCase{"none is left", {5, 6}, {}, 5, 6, 0, "PASID_SPACE_FULL"},
        PickCase{"a range of one", {}, {}, 3, 3, 3},
        PickCase{"the device's bits end the range", {14, 15}, {}, 14, 99, 0, "PASID_SPACE_FULL"},
        PickCase{"within the device's bits before free on the host", {}, {14, 15}, 14, 99, 14},
        PickCase{"a range above the device's bits", {}, {}, 16, 99, 0, "FIELD_INVALID"}));

TEST_F(PasidBindingIntent, UpdateOfTheSpecIsAGeneration) {
  const auto created = state_.CreateBinding(WantedBinding(BindingName("b"), 7));
  ASSERT_TRUE(created.ok());
  v1::PasidBinding wanted = *created;
  wanted.mutable_spec()->mutable_page_table()->set_root(0x2000);
  const auto reply = Update(wanted);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->metadata().generation(), 2);
  EXPECT_NE(reply->metadata().etag(), created->metadata().etag());
  EXPECT_EQ(reply->metadata().create_time().seconds(), 100);
  EXPECT_EQ(reply->metadata().update_time().seconds(), 150);
  EXPECT_EQ(reply->SerializeAsString(),
            state_.view().PasidBindingResource(BindingName("b")).SerializeAsString());
}

TEST_F(PasidBindingIntent, UpdateOfLabelsKeepsTheGeneration) {
  auto wanted = state_.CreateBinding(WantedBinding(BindingName("b"), 7));
  ASSERT_TRUE(wanted.ok());
  (*wanted->mutable_metadata()->mutable_labels())["a"] = "1";
  const auto reply = Update(*wanted);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->metadata().generation(), 1);
  EXPECT_EQ(reply->metadata().labels().at("a"), "1");
}

TEST_F(PasidBindingIntent, UpdateToWhatIsStoredWritesNothing) {
  const auto created = state_.CreateBinding(WantedBinding(BindingName("b"), 7));
  const auto reply = Update(*created);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_FALSE(wrote_);
  EXPECT_EQ(reply->SerializeAsString(), created->SerializeAsString());
}

TEST_F(PasidBindingIntent, UpdateTakesOnlyWhatTheMaskNames) {
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 7)).ok());
  v1::PasidBinding wanted = WantedBinding(BindingName("b"), 7);
  wanted.mutable_spec()->mutable_page_table()->set_root(0x2000);
  wanted.mutable_spec()->set_allow_translation_gap(true);
  (*wanted.mutable_metadata()->mutable_labels())["a"] = "1";
  const auto reply = Update(wanted, {"spec.allow_translation_gap"});
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_TRUE(reply->spec().allow_translation_gap());
  EXPECT_EQ(reply->spec().page_table().root(), 0x1000u);
  EXPECT_THAT(reply->metadata().labels(), IsEmpty());
}

TEST_F(PasidBindingIntent, UpdateReplacesMaskedLabelsAsAWhole) {
  v1::PasidBinding wanted = WantedBinding(BindingName("b"), 7);
  (*wanted.mutable_metadata()->mutable_labels())["old"] = "1";
  ASSERT_TRUE(state_.CreateBinding(wanted).ok());
  wanted.mutable_metadata()->clear_labels();
  (*wanted.mutable_metadata()->mutable_labels())["new"] = "2";
  const auto reply = Update(wanted, {"metadata.labels"});
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->metadata().labels().size(), 1u);
  EXPECT_EQ(reply->metadata().labels().at("new"), "2");
}

TEST_F(PasidBindingIntent, UpdateMayLeaveOutWhatCannotChange) {
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 7)).ok());
  v1::PasidBinding wanted = WantedBinding(BindingName("b"), 7);
  wanted.mutable_spec()->clear_device();
  wanted.mutable_spec()->clear_target();
  wanted.mutable_spec()->mutable_page_table()->set_root(0x2000);
  const auto reply = Update(wanted);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->spec().device(), kDevice);
  EXPECT_EQ(reply->spec().pasid(), 7u);
}

TEST_F(PasidBindingIntent, UpdateOfTheTargetIsRefused) {
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 7)).ok());
  v1::PasidBinding rid = WantedBinding(BindingName("b"), 7);
  rid.mutable_spec()->mutable_rid();
  for (const v1::PasidBinding& wanted :
       {WantedBinding(BindingName("b"), 8), WantedAnyOf(BindingName("b"), 7, 7), rid}) {
    EXPECT_THAT(WrongFields(Update(wanted).status()), ElementsAre("pasid_binding.spec.target"));
  }
}

TEST_F(PasidBindingIntent, UpdateOfTheDeviceIsRefused) {
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 7)).ok());
  const auto reply = Update(WantedBinding(BindingName("b"), 7, kOtherDevice));
  EXPECT_THAT(WrongFields(reply.status()), ElementsAre("pasid_binding.spec.device"));
}

TEST_F(PasidBindingIntent, UpdateOfWhatIsBeingDeletedIsRefused) {
  const auto created = state_.CreateBinding(WantedBinding(BindingName("b"), 7));
  ASSERT_TRUE(state_.DeleteBinding(BindingName("b")).ok());
  EXPECT_EQ(ErrorReason(Update(WantedBinding(BindingName("b"), 7)).status()), "DELETING");
}

TEST_F(PasidBindingIntent, UpdateOfNothingIsNotFound) {
  EXPECT_EQ(ErrorReason(Update(WantedBinding(BindingName("b"), 7)).status()), "NOT_FOUND");
}

TEST_F(PasidBindingIntent, EtagOfAnEarlierStateIsRefused) {
  const auto created = state_.CreateBinding(WantedBinding(BindingName("b"), 7));
  v1::PasidBinding wanted = *created;
  wanted.mutable_spec()->mutable_page_table()->set_root(0x2000);
  ASSERT_TRUE(Update(wanted).ok());
  wanted.mutable_spec()->mutable_page_table()->set_root(0x3000);
  EXPECT_EQ(ErrorReason(Update(wanted).status()), "ETAG_MISMATCH");
  v1::DeletePasidBindingRequest request;
  request.set_name(BindingName("b"));
  request.set_etag(created->metadata().etag());
  EXPECT_EQ(ErrorReason(DeletePasidBinding(state_.view(), TestTime(1), request).status()),
            "ETAG_MISMATCH");
}

TEST_F(PasidBindingIntent, DeleteKeepsThePasidUntilTheHostLetGo) {
  const auto created = state_.CreateBinding(WantedBinding(BindingName("b"), 7));
  const auto deleted = state_.DeleteBinding(BindingName("b"));
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_EQ(deleted->metadata().delete_time().seconds(), 200);
  EXPECT_EQ(deleted->status().state(), v1::PasidBindingStatus::STATE_DELETING);
  EXPECT_EQ(Holder(7), BindingName("b"));
  EXPECT_EQ(ErrorReason(state_.CreateBinding(WantedBinding(BindingName("c"), 7)).status()),
            "PASID_IN_USE");
  ASSERT_TRUE(
      state_
          .Commit(Purge(state_.view(), TestTime(9), kHostId, {created->metadata().uid()}, {})
                      .transaction)
          .ok());
  EXPECT_FALSE(state_.view().FindPasidBinding(BindingName("b")).has_value());
  EXPECT_TRUE(state_.CreateBinding(WantedBinding(BindingName("c"), 7)).ok());
}

TEST_F(PasidBindingIntent, DeleteIsAGenerationThatTheAgentAnswers) {
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 7)).ok());
  EXPECT_EQ(state_.DeleteBinding(BindingName("b"))->metadata().generation(), 2);
}

TEST_F(PasidBindingIntent, DeleteAgainRepliesTheSame) {
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 7)).ok());
  const auto first = state_.DeleteBinding(BindingName("b"));
  const int64_t revision = state_.view().head_revision();
  const auto second = state_.DeleteBinding(BindingName("b"));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->SerializeAsString(), first->SerializeAsString());
  EXPECT_EQ(state_.view().head_revision(), revision);
}

TEST_F(PasidBindingIntent, DeleteOnAHostNeverSeenRemovesAtOnce) {
  state_.SetHostState(v1::HostStatus::STATE_NEVER_SEEN);
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 7)).ok());
  const auto deleted = state_.DeleteBinding(BindingName("b"));
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_TRUE(deleted->metadata().has_delete_time());
  EXPECT_FALSE(state_.view().FindPasidBinding(BindingName("b")).has_value());
  EXPECT_EQ(Holder(7), "");
}

TEST_F(PasidBindingIntent, DeleteAtOnceIsDecidedAgainWhenAnAgentSaysHello) {
  state_.SetHostState(v1::HostStatus::STATE_NEVER_SEEN);
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 7)).ok());
  v1::DeletePasidBindingRequest request;
  request.set_name(BindingName("b"));
  const auto decision = DeletePasidBinding(state_.view(), TestTime(200), request);
  storage::v1::EpochRow epoch;
  epoch.set_epoch(1);
  state_.Put(keys::Epoch(kHostId), epoch);
  EXPECT_EQ(state_.Commit(decision->transaction).status().code(), absl::StatusCode::kAborted);
}

TEST_F(PasidBindingIntent, DeleteOfNothingIsNotFoundUnlessAllowed) {
  v1::DeletePasidBindingRequest request;
  request.set_name(BindingName("b"));
  EXPECT_EQ(ErrorReason(DeletePasidBinding(state_.view(), TestTime(1), request).status()),
            "NOT_FOUND");
  request.set_allow_missing(true);
  const auto decision = DeletePasidBinding(state_.view(), TestTime(1), request);
  ASSERT_TRUE(decision.ok());
  EXPECT_TRUE(decision->changes_nothing());
}

// What a creation relied on may not change before its commit.
TEST_F(PasidBindingIntent, CreateAgainstAStaleViewIsAborted) {
  v1::CreatePasidBindingRequest request;
  *request.mutable_pasid_binding() = WantedBinding(BindingName("b"), 7);
  const auto decide = [&] {
    return CreatePasidBinding(state_.view(), TestTime(1), state_.uids(), request)->transaction;
  };
  const auto same_pasid = decide();
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("c"), 7)).ok());
  EXPECT_EQ(state_.Commit(same_pasid).status().code(), absl::StatusCode::kAborted);

  request.mutable_pasid_binding()->mutable_spec()->set_pasid(8);
  const auto same_name = decide();
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 9)).ok());
  EXPECT_EQ(state_.Commit(same_name).status().code(), absl::StatusCode::kAborted);

  request.mutable_pasid_binding()->set_name(BindingName("d"));
  const auto machine_goes = decide();
  v1::DeleteVirtualMachineRequest deletion;
  deletion.set_name(kMachine);
  deletion.set_force(true);
  ASSERT_TRUE(
      state_.Do<v1::VirtualMachine>(DeleteVirtualMachine(state_.view(), TestTime(2), deletion))
          .ok());
  EXPECT_EQ(state_.Commit(machine_goes).status().code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace nestor::server
