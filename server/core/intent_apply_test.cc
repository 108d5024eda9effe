#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/core/test_view.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

using Bindings = std::vector<v1::PasidBinding>;

// {created, updated, deleted, unchanged}
std::vector<int> Counts(const v1::ApplyVirtualMachineResponse& reply) {
  return {reply.created(), reply.updated(), reply.deleted(), reply.unchanged()};
}

class Apply : public ::testing::Test {
 protected:
  void SetUp() override { state_.AddConnectedHost(); }

  absl::StatusOr<Decision> Decide(const v1::VirtualMachine& machine, const Bindings& bindings) {
    v1::ApplyVirtualMachineRequest request;
    *request.mutable_virtual_machine() = machine;
    for (const auto& binding : bindings) *request.add_pasid_bindings() = binding;
    return ApplyVirtualMachine(state_.view(), TestTime(100), state_.uids(), request);
  }
  absl::StatusOr<v1::ApplyVirtualMachineResponse> Do(const v1::VirtualMachine& machine,
                                                     const Bindings& bindings) {
    return state_.Do<v1::ApplyVirtualMachineResponse>(Decide(machine, bindings));
  }
  // A machine with bindings "a" (PASID 1) and "b" (PASID 2).
  void ApplyTwo() { ASSERT_TRUE(Do(WantedMachine(), Two()).ok()); }
  static Bindings Two() {
    return {WantedBinding(BindingName("a"), 1), WantedBinding(BindingName("b"), 2)};
  }

  TestView state_;
};

TEST_F(Apply, CreatesTheMachineAndItsBindingsInOneRevision) {
  const int64_t before = state_.view().head_revision();
  const auto reply = Do(WantedMachine(),
                        {WantedBinding(BindingName("b"), 2), WantedAnyOf(BindingName("a"), 1, 9)});
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_THAT(Counts(*reply), ElementsAre(3, 0, 0, 0));
  EXPECT_EQ(state_.view().head_revision(), before + 1);
  EXPECT_EQ(reply->revision(), before + 1);
  EXPECT_EQ(reply->virtual_machine().metadata().revision(), before + 1);
  ASSERT_EQ(reply->pasid_bindings_size(), 2);
  EXPECT_EQ(reply->pasid_bindings(0).SerializeAsString(),
            state_.view().PasidBindingResource(BindingName("a")).SerializeAsString());
  EXPECT_EQ(reply->pasid_bindings(1).name(), BindingName("b"));
}

TEST_F(Apply, OfTheSameAgainWritesNothingAndSaysSo) {
  const Bindings wanted = {WantedAnyOf(BindingName("a"), 1, 9), WantedBinding(BindingName("b"), 2)};
  ASSERT_TRUE(Do(WantedMachine(), wanted).ok());
  const auto again = Decide(WantedMachine(), wanted);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->changes_nothing());
  const auto reply = state_.Do<v1::ApplyVirtualMachineResponse>(again);
  EXPECT_THAT(Counts(*reply), ElementsAre(0, 0, 0, 3));
  EXPECT_EQ(reply->revision(), state_.view().head_revision());
  EXPECT_EQ(reply->pasid_bindings_size(), 2);
  EXPECT_GT(reply->virtual_machine().metadata().revision(), 0);
}

TEST_F(Apply, CountsWhatChanges) {
  ApplyTwo();
  Bindings wanted = {WantedBinding(BindingName("a"), 1), WantedBinding(BindingName("c"), 3)};
  wanted[0].mutable_spec()->mutable_page_table()->set_root(0x2000);
  v1::VirtualMachine machine = WantedMachine();
  (*machine.mutable_metadata()->mutable_labels())["a"] = "1";
  const auto reply = Do(machine, wanted);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_THAT(Counts(*reply), ElementsAre(1, 2, 1, 0));
  EXPECT_EQ(reply->pasid_bindings(0).metadata().generation(), 2);
  EXPECT_EQ(reply->virtual_machine().metadata().generation(), 1);
}

TEST_F(Apply, DeletesWhatIsLeftOutInTwoPhases) {
  ApplyTwo();
  const Bindings one = {WantedBinding(BindingName("a"), 1)};
  const auto reply = Do(WantedMachine(), one);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_THAT(Counts(*reply), ElementsAre(0, 0, 1, 2));
  EXPECT_EQ(state_.view().PasidBindingResource(BindingName("b")).status().state(),
            v1::PasidBindingStatus::STATE_DELETING);
  const auto taken = Do(WantedMachine(), {one[0], WantedBinding(BindingName("c"), 2)});
  EXPECT_EQ(ErrorReason(taken.status()), "PASID_IN_USE");
}

TEST_F(Apply, WhileADeletionWaitsChangesNothing) {
  ApplyTwo();
  const Bindings one = {WantedBinding(BindingName("a"), 1)};
  ASSERT_TRUE(Do(WantedMachine(), one).ok());
  const auto again = Decide(WantedMachine(), one);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->changes_nothing());
}

TEST_F(Apply, OfABindingThatIsBeingDeletedIsRefused) {
  ApplyTwo();
  ASSERT_TRUE(state_.DeleteBinding(BindingName("b")).ok());
  const auto reply = Do(WantedMachine(), Two());
  EXPECT_EQ(ErrorReason(reply.status()), "DELETING");
  EXPECT_THAT(std::string(reply.status().message()), StartsWith("pasid_bindings[1]: "));
}

TEST_F(Apply, OfAMachineThatIsBeingDeletedIsRefused) {
  ApplyTwo();
  v1::DeleteVirtualMachineRequest request;
  request.set_name(kMachine);
  request.set_force(true);
  ASSERT_TRUE(
      state_.Do<v1::VirtualMachine>(DeleteVirtualMachine(state_.view(), TestTime(2), request))
          .ok());
  EXPECT_EQ(ErrorReason(Do(WantedMachine(), Two()).status()), "DELETING");
}

TEST_F(Apply, BringsADeviceAndItsBindingTogether) {
  ApplyTwo();
  Bindings wanted = Two();
  wanted.push_back(WantedBinding(BindingName("c"), 1, kOtherDevice));
  EXPECT_EQ(ErrorReason(Do(WantedMachine(), wanted).status()), "DEVICE_NOT_OWNED");
  const auto reply = Do(WantedMachine({kDevice, kOtherDevice}), wanted);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_THAT(Counts(*reply), ElementsAre(1, 1, 0, 2));
}

TEST_F(Apply, TakesNoDeviceAwayThatABindingKeepsUsing) {
  ApplyTwo();
  const auto reply = Do(WantedMachine({kOtherDevice}), Two());
  EXPECT_EQ(ErrorReason(reply.status()), "DEVICE_IN_USE");
}

TEST_F(Apply, OfAnotherTargetNamesTheField) {
  ApplyTwo();
  Bindings wanted = Two();
  wanted[1].mutable_spec()->set_pasid(9);
  EXPECT_THAT(WrongFields(Do(WantedMachine(), wanted).status()),
              ElementsAre("pasid_bindings[1].spec.target"));
}

TEST_F(Apply, WithAnEarlierEtagIsRefused) {
  ApplyTwo();
  v1::VirtualMachine machine = state_.view().VirtualMachineResource(kMachine);
  Bindings wanted = {state_.view().PasidBindingResource(BindingName("a")),
                     state_.view().PasidBindingResource(BindingName("b"))};
  EXPECT_TRUE(Decide(machine, wanted).ok());
  machine.mutable_metadata()->set_etag("0123456789abcdef");
  EXPECT_EQ(ErrorReason(Do(machine, wanted).status()), "ETAG_MISMATCH");
  wanted[1].mutable_metadata()->set_etag("0123456789abcdef");
  const auto reply = Do(WantedMachine(), wanted);
  EXPECT_EQ(ErrorReason(reply.status()), "ETAG_MISMATCH");
  EXPECT_THAT(reply.status().message(), HasSubstr(BindingName("b")));
}

TEST_F(Apply, OneRefusalChangesNothing) {
  const auto reply =
      Do(WantedMachine(), {WantedBinding(BindingName("a"), 1), WantedBinding(BindingName("b"), 1)});
  EXPECT_EQ(ErrorReason(reply.status()), "PASID_IN_USE");
  EXPECT_THAT(std::string(reply.status().message()), StartsWith("pasid_bindings[1]: "));
  EXPECT_THAT(state_.view().virtual_machines(), IsEmpty());
}

TEST_F(Apply, IsDecidedAgainWhenABindingComesInBeside) {
  ApplyTwo();
  Bindings wanted = Two();
  wanted[0].mutable_spec()->mutable_page_table()->set_root(0x2000);
  const auto decision = Decide(WantedMachine(), wanted);
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("c"), 3)).ok());
  EXPECT_EQ(state_.Commit(decision->transaction).status().code(), absl::StatusCode::kAborted);
}

// Where nothing was ever programmed, a PASID given up is free within the same transaction.
TEST_F(Apply, OnAHostNeverSeenHandsAPasidOn) {
  state_.AddHost("h2");
  const v1::VirtualMachine machine = WantedMachine({kDevice}, kMachine, "hosts/h2");
  ASSERT_TRUE(Do(machine, {WantedBinding(BindingName("a"), 1)}).ok());
  const auto same = Do(machine, {WantedBinding(BindingName("b"), 1)});
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_THAT(Counts(*same), ElementsAre(1, 0, 1, 1));
  EXPECT_EQ(state_.view().PasidClaim("h2", kDevice, 1).holder, BindingName("b"));
  const auto picked = Do(machine, {WantedAnyOf(BindingName("c"), 1, 1)});
  ASSERT_TRUE(picked.ok()) << picked.status();
  EXPECT_EQ(state_.view().PasidClaim("h2", kDevice, 1).holder, BindingName("c"));
  EXPECT_EQ(state_.view().BindingsOf(kMachine).size(), 1u);
}

}  // namespace
}  // namespace nestor::server
