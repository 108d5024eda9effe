#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "server/core/explain.h"
#include "server/core/host_intent.h"
#include "server/core/observed_rows.h"
#include "server/core/test_view.h"
#include "server/core/timeline.h"

namespace nestor::server {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kOldInstance[] = "boot-on-h1";

// A machine with a programmed binding "b" on h1, and h2, which has the same devices.
class MoveTest : public ::testing::Test {
 protected:
  void SetUp() override {
    state_.AddConnectedHost("h1");
    state_.AddConnectedHost("h2");
    machine_uid_ = state_.CreateMachine(WantedMachine({kDevice}))->metadata().uid();
    binding_uid_ = state_.CreateBinding(WantedBinding(BindingName("b"), 7))->metadata().uid();
    v1::PasidBindingStatus programmed;
    programmed.set_state(v1::PasidBindingStatus::STATE_PROGRAMMED);
    programmed.set_observed_generation(1);
    programmed.set_programmed_generation(1);
    programmed.set_programmed_root(0x1000);
    programmed.set_vm_instance(kOldInstance);
    state_.Observe(BindingName("b"), programmed);
  }

  absl::StatusOr<Decision> DecideMove(const v1::VirtualMachine& wanted) {
    v1::UpdateVirtualMachineRequest request;
    *request.mutable_virtual_machine() = wanted;
    return UpdateVirtualMachine(state_.view(), TestTime(300), request);
  }
  absl::StatusOr<v1::VirtualMachine> Move(const std::string& host = "hosts/h2",
                                          const std::string& device = kDevice) {
    return state_.Do<v1::VirtualMachine>(DecideMove(WantedMachine({device}, kMachine, host)));
  }
  // With the bindings `wanted`, which are then all it has.
  absl::StatusOr<v1::ApplyVirtualMachineResponse> ApplyMove(
      const std::vector<v1::PasidBinding>& wanted, const std::string& device = kDevice) {
    v1::ApplyVirtualMachineRequest request;
    *request.mutable_virtual_machine() = WantedMachine({device}, kMachine, "hosts/h2");
    for (const v1::PasidBinding& binding : wanted) *request.add_pasid_bindings() = binding;
    return state_.Do<v1::ApplyVirtualMachineResponse>(
        ApplyVirtualMachine(state_.view(), TestTime(300), state_.uids(), request));
  }
  // h1 says that nothing of the machine is left there.
  void LetGo(int64_t generation = 2, const std::string& host = "h1") {
    ASSERT_TRUE(
        state_
            .Commit(Purge(state_.view(), TestTime(400), host, {}, {{machine_uid_, generation}})
                        .transaction)
            .ok());
  }
  void Fence(const std::string& host) {
    v1::FenceHostRequest request;
    request.set_name("hosts/" + host);
    request.set_evidence("its power is off");
    request.set_force(true);
    ASSERT_TRUE(
        state_.Do<v1::Host>(FenceHost(state_.view(), TestTime(350), "operator", request)).ok());
  }
  HostIntent IntentOf(const std::string& host) { return IntentOfHost(state_.view(), host); }
  v1::PasidBinding Binding() { return state_.view().PasidBindingResource(BindingName("b")); }
  v1::VirtualMachine Machine() { return state_.view().VirtualMachineResource(kMachine); }

  TestView state_;
  std::string machine_uid_;
  std::string binding_uid_;
};

TEST_F(MoveTest, OldHostIsToldToLetGoAndTheNewOneNothing) {
  EXPECT_EQ(Move()->status().leaving_host(), "hosts/h1");
  const HostIntent old_host = IntentOf("h1");
  ASSERT_THAT(old_host.virtual_machines, SizeIs(1));
  EXPECT_EQ(old_host.virtual_machines[0].uid(), machine_uid_);
  EXPECT_EQ(old_host.virtual_machines[0].generation(), 2);
  EXPECT_TRUE(old_host.virtual_machines[0].absent());
  EXPECT_THAT(old_host.bindings, IsEmpty());
  EXPECT_THAT(IntentOf("h2").virtual_machines, IsEmpty());
  EXPECT_THAT(IntentOf("h2").bindings, IsEmpty());
}

TEST_F(MoveTest, NewHostIsToldWhenTheOldOneHasLetGo) {
  ASSERT_TRUE(Move().ok());
  LetGo();
  EXPECT_THAT(IntentOf("h1").virtual_machines, IsEmpty());
  const HostIntent new_host = IntentOf("h2");
  ASSERT_THAT(new_host.virtual_machines, SizeIs(1));
  EXPECT_FALSE(new_host.virtual_machines[0].absent());
  ASSERT_THAT(new_host.bindings, SizeIs(1));
  EXPECT_EQ(new_host.bindings[0].generation(), 2);
  EXPECT_EQ(new_host.bindings[0].pasid(), 7u);
  EXPECT_EQ(Machine().status().leaving_host(), "");
}

TEST_F(MoveTest, ClaimsOfBothHostsAreHeldUntilTheOldOneHasLetGo) {
  ASSERT_TRUE(Move().ok());
  EXPECT_EQ(state_.view().DeviceClaim("h1", kDevice).holder, kMachine);
  EXPECT_EQ(state_.view().DeviceClaim("h2", kDevice).holder, kMachine);
  EXPECT_EQ(state_.view().PasidClaim("h1", kDevice, 7).holder, BindingName("b"));
  EXPECT_EQ(state_.view().PasidClaim("h2", kDevice, 7).holder, BindingName("b"));
  LetGo();
  EXPECT_EQ(state_.view().DeviceClaim("h1", kDevice).holder, "");
  EXPECT_EQ(state_.view().PasidClaim("h1", kDevice, 7).holder, "");
  EXPECT_EQ(state_.view().DeviceClaim("h2", kDevice).holder, kMachine);
  EXPECT_EQ(state_.view().PasidClaim("h2", kDevice, 7).holder, BindingName("b"));
}

TEST_F(MoveTest, FenceOfTheOldHostStandsForItsWord) {
  ASSERT_TRUE(Move().ok());
  Fence("h1");
  EXPECT_THAT(IntentOf("h2").bindings, SizeIs(1));
  EXPECT_EQ(state_.view().PasidClaim("h1", kDevice, 7).holder, "");
}

TEST_F(MoveTest, AwayFromAFencedHostWaitsForNobody) {
  Fence("h1");
  EXPECT_EQ(Move()->status().leaving_host(), "");
  EXPECT_THAT(IntentOf("h2").bindings, SizeIs(1));
  EXPECT_EQ(state_.view().DeviceClaim("h1", kDevice).holder, "");
}

TEST_F(MoveTest, AwayFromAHostThatWasNeverSeenWaitsForNobody) {
  state_.AddHost("h3");
  const std::string other = "projects/p/virtualMachines/other";
  ASSERT_TRUE(state_.CreateMachine(WantedMachine({kOtherDevice}, other, "hosts/h3")).ok());
  const auto moved =
      state_.Do<v1::VirtualMachine>(DecideMove(WantedMachine({kOtherDevice}, other, "hosts/h2")));
  EXPECT_EQ(moved->status().leaving_host(), "");
  EXPECT_EQ(state_.view().DeviceClaim("h3", kOtherDevice).holder, "");
}

TEST_F(MoveTest, EarlierWordOfTheOldHostDoesNotCount) {
  ASSERT_TRUE(Move().ok());
  LetGo(1);
  EXPECT_NE(state_.view().FindDeparture(kMachine), nullptr);
}

TEST_F(MoveTest, WordOfAnotherHostDoesNotCount) {
  ASSERT_TRUE(Move().ok());
  LetGo(2, "h2");
  EXPECT_NE(state_.view().FindDeparture(kMachine), nullptr);
}

TEST_F(MoveTest, BackToTheOldHostIsAMoveLikeAnyOther) {
  ASSERT_TRUE(Move().ok());
  LetGo();
  ASSERT_TRUE(Move("hosts/h1").ok());
  EXPECT_THAT(IntentOf("h1").bindings, IsEmpty());
  LetGo(2, "h2");
  EXPECT_THAT(IntentOf("h1").bindings, IsEmpty()) << "of the generation before";
  LetGo(3, "h2");
  ASSERT_THAT(IntentOf("h1").bindings, SizeIs(1));
  EXPECT_EQ(IntentOf("h1").bindings[0].generation(), 3);
}

TEST_F(MoveTest, OnToYetAnotherHostWaitsForTheFirst) {
  state_.AddConnectedHost("h3");
  ASSERT_TRUE(Move().ok());
  const absl::Status status = Move("hosts/h3").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(status), "MOVING");
  EXPECT_THAT(std::string(status.message()), HasSubstr("nestorctl fence-host h1"));
}

struct RefusedCase {
  const char* name;
  std::function<void(TestView&)> prepare;
  const char* reason;
};

class RefusedMoveTest : public MoveTest, public ::testing::WithParamInterface<RefusedCase> {};

TEST_P(RefusedMoveTest, ChangesNothing) {
  GetParam().prepare(state_);
  EXPECT_EQ(ErrorReason(Move().status()), GetParam().reason);
  EXPECT_THAT(IntentOf("h1").bindings, SizeIs(1));
}

void Claim(TestView& state, const std::string& key, const std::string& holder) {
  storage::v1::ClaimRow row;
  row.set_holder(holder);
  state.Put(key, row);
}

INSTANTIATE_TEST_SUITE_P(
    Each, RefusedMoveTest,
    ::testing::Values(
        RefusedCase{"HostUnknown", [](TestView& state) { state.Delete(keys::Host("h2")); },
                    "HOST_UNKNOWN"},
        RefusedCase{
            "HostDraining",
            [](TestView& state) {
              v1::DrainHostRequest request;
              request.set_name("hosts/h2");
              EXPECT_TRUE(
                  state.Do<v1::Host>(DrainHost(state.view(), TestTime(1), "me", request)).ok());
            },
            "HOST_DRAINING"},
        RefusedCase{
            "HostFenced",
            [](TestView& state) { state.Put(keys::HostFence("h2"), storage::v1::HostFenceRow()); },
            "HOST_FENCED"},
        RefusedCase{"NoSuchDevice",
                    [](TestView& state) { state.Delete(keys::DeviceObserved("h2", kDevice)); },
                    "DEVICE_UNSUITABLE"},
        RefusedCase{"DeviceTaken",
                    [](TestView& state) {
                      Claim(state, keys::DeviceClaim("h2", kDevice),
                            "projects/p/virtualMachines/other");
                    },
                    "DEVICE_IN_USE"},
        RefusedCase{"PasidTaken",
                    [](TestView& state) {
                      Claim(state, keys::PasidClaim("h2", kDevice, 7),
                            "projects/p/virtualMachines/other/pasidBindings/x");
                    },
                    "PASID_IN_USE"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_F(MoveTest, BindingOfADeviceThatTheNewPlacementLacksIsRefused) {
  EXPECT_EQ(ErrorReason(Move("hosts/h2", kOtherDevice).status()), "DEVICE_NOT_OWNED");
}

TEST_F(MoveTest, ApplyMayGiveABindingAnotherDeviceAndTarget) {
  const auto applied = ApplyMove({WantedBinding(BindingName("b"), 9, kOtherDevice),
                                  WantedBinding(BindingName("new"), 10, kOtherDevice)},
                                 kOtherDevice);
  ASSERT_TRUE(applied.ok()) << applied.status();
  EXPECT_EQ(applied->updated(), 2);
  EXPECT_EQ(applied->created(), 1);
  LetGo();
  const HostIntent intent = IntentOf("h2");
  ASSERT_THAT(intent.bindings, SizeIs(2));
  EXPECT_EQ(intent.bindings[0].device(), kOtherDevice);
  EXPECT_EQ(intent.bindings[0].pasid(), 9u);
  EXPECT_EQ(intent.bindings[0].uid(), binding_uid_) << "the same binding";
}

TEST_F(MoveTest, ApplyTwiceMovesOnce) {
  const std::vector<v1::PasidBinding> bindings = {WantedBinding(BindingName("b"), 7)};
  ASSERT_TRUE(ApplyMove(bindings).ok());
  const auto again = ApplyMove(bindings);
  EXPECT_EQ(again->unchanged(), 2);
}

TEST_F(MoveTest, BindingThatApplyLeavesOutGoesFromBothHosts) {
  ASSERT_TRUE(ApplyMove({}).ok());
  LetGo();
  EXPECT_EQ(state_.view().PasidClaim("h1", kDevice, 7).holder, "");
  const HostIntent intent = IntentOf("h2");
  ASSERT_THAT(intent.bindings, SizeIs(1));
  EXPECT_TRUE(intent.bindings[0].absent());
}

TEST_F(MoveTest, AnyOfIsPickedAnewOnTheNewHost) {
  ASSERT_TRUE(state_.CreateBinding(WantedAnyOf(BindingName("any"), 1, 10)).ok());
  Claim(state_, keys::PasidClaim("h2", kDevice, 1), "projects/p/virtualMachines/x/pasidBindings/y");
  ASSERT_TRUE(Move().ok());
  EXPECT_EQ(state_.view().PasidBindingResource(BindingName("any")).status().effective_pasid(), 2u);
}

TEST_F(MoveTest, BindingDecidedBeforeTheMoveIsDecidedAgain) {
  v1::CreatePasidBindingRequest request;
  *request.mutable_pasid_binding() = WantedBinding(BindingName("d"), 3);
  const auto decision = CreatePasidBinding(state_.view(), TestTime(200), state_.uids(), request);
  const auto move = DecideMove(WantedMachine({kDevice}, kMachine, "hosts/h2"));
  ASSERT_TRUE(state_.Commit(decision->transaction).ok());
  EXPECT_TRUE(absl::IsAborted(state_.Commit(move->transaction).status()));
  ASSERT_TRUE(Move().ok());
  EXPECT_TRUE(absl::IsAborted(state_.Commit(decision->transaction).status()));
}

TEST_F(MoveTest, RootOfTheOldBootIsNotBoundForAnotherOne) {
  ASSERT_TRUE(Move().ok());
  LetGo();
  EXPECT_EQ(IntentOf("h2").bindings[0].vm_instance(), kOldInstance);
  v1::UpdatePasidBindingRequest request;
  *request.mutable_pasid_binding() = WantedBinding(BindingName("b"), 7);
  request.mutable_pasid_binding()->mutable_spec()->mutable_page_table()->set_root(0x9000);
  ASSERT_TRUE(
      state_.Do<v1::PasidBinding>(UpdatePasidBinding(state_.view(), TestTime(500), request)).ok());
  EXPECT_EQ(IntentOf("h2").bindings[0].vm_instance(), "");
}

TEST_F(MoveTest, NewRootInTheMoveIsForTheNewBoot) {
  v1::PasidBinding wanted = WantedBinding(BindingName("b"), 7);
  wanted.mutable_spec()->mutable_page_table()->set_root(0x9000);
  ASSERT_TRUE(ApplyMove({wanted}).ok());
  LetGo();
  EXPECT_EQ(IntentOf("h2").bindings[0].vm_instance(), "");
}

TEST_F(MoveTest, NothingThatTheOldHostSaysIsTakenForTheNewOne) {
  ASSERT_TRUE(Move().ok());
  HostEffects effects;
  v1::Result& result = effects.observed_bindings.emplace_back();
  result.set_uid(binding_uid_);
  result.set_generation(1);
  result.set_outcome(v1::Result::OUTCOME_PROGRAMMED);
  effects.observed_machines.emplace_back().set_uid(machine_uid_);
  ObservedRows old_host("h1", v1::Inventory());
  EXPECT_THAT(old_host.Add(state_.view(), effects, {TestTime(1), 1}), IsEmpty());
  EXPECT_TRUE(old_host.empty());
  EXPECT_EQ(Binding().status().programmed_generation(), 0);
}

TEST_F(MoveTest, ConditionsSayWhatIsWaitedFor) {
  ASSERT_TRUE(Move().ok());
  const v1::PasidBinding binding = Binding();
  EXPECT_EQ(binding.status().state(), v1::PasidBindingStatus::STATE_PERSISTED);
  for (const v1::Condition& condition : binding.status().conditions()) {
    EXPECT_EQ(condition.reason(), "WAITING_FOR_OLD_HOST");
  }
  const v1::VirtualMachineStatus status = Machine().status();
  EXPECT_EQ(status.state(), v1::VirtualMachineStatus::STATE_PENDING);
  EXPECT_EQ(status.conditions(0).reason(), "WAITING_FOR_OLD_HOST");
  EXPECT_THAT(status.conditions(0).message(), HasSubstr("hosts/h1 has not let go"));
}

TEST_F(MoveTest, IsExplainedAndToldInTheTimeline) {
  ASSERT_TRUE(Move().ok());
  const v1::ExplainPasidBindingResponse why = Explain(state_.view(), BindingName("b"));
  EXPECT_EQ(why.reason(), "WAITING_FOR_OLD_HOST");
  EXPECT_THAT(why.cause(), HasSubstr("was moved to hosts/h2, and hosts/h1 has not let go"));
  EXPECT_THAT(why.next_step(), HasSubstr("nestorctl fence-host h1"));
  const auto words = [this] {
    std::vector<std::string> messages;
    const auto timeline = Timeline(state_.view(), BindingName("b"));
    for (const auto& event : timeline.events()) messages.push_back(event.message());
    return messages;
  };
  EXPECT_THAT(words(), Contains(HasSubstr("moved from hosts/h1 to hosts/h2")));
  LetGo();
  EXPECT_THAT(words(), Contains(HasSubstr("moved from hosts/h1 to hosts/h2")));
  EXPECT_THAT(words(), Contains(HasSubstr("hosts/h1 has let go of it")));
}

TEST_F(MoveTest, MachineDeletedMeanwhileStillLeavesTheOldHost) {
  ASSERT_TRUE(Move().ok());
  Fence("h2");  // so that nobody need confirm there
  v1::DeleteVirtualMachineRequest request;
  request.set_name(kMachine);
  request.set_force(true);
  ASSERT_TRUE(
      state_.Do<v1::VirtualMachine>(DeleteVirtualMachine(state_.view(), TestTime(400), request))
          .ok());
  EXPECT_EQ(state_.view().FindVirtualMachine(kMachine), nullptr);
  EXPECT_THAT(IntentOf("h1").virtual_machines, SizeIs(1));
  EXPECT_EQ(state_.view().PasidClaim("h1", kDevice, 7).holder, BindingName("b"));
  LetGo();
  EXPECT_EQ(state_.view().PasidClaim("h1", kDevice, 7).holder, "");
  EXPECT_EQ(state_.view().DeviceClaim("h1", kDevice).holder, "");
}

TEST_F(MoveTest, HostThatHasStillToLetGoIsNotEmpty) {
  v1::DrainHostRequest drain;
  drain.set_name("hosts/h1");
  ASSERT_TRUE(state_.Do<v1::Host>(DrainHost(state_.view(), TestTime(200), "operator", drain)).ok());
  ASSERT_TRUE(Move().ok());
  state_.SetHostState(v1::HostStatus::STATE_UNKNOWN, "h1");
  EXPECT_EQ(state_.view().HostResource("h1").status().drain().virtual_machines(), 1);
  v1::DeleteHostRequest request;
  request.set_name("hosts/h1");
  EXPECT_EQ(ErrorReason(DeleteHost(state_.view(), request).status()), "HAS_CHILDREN");
  LetGo();
  EXPECT_EQ(state_.view().HostResource("h1").status().drain().virtual_machines(), 0);
  EXPECT_TRUE(DeleteHost(state_.view(), request).ok());
}

}  // namespace
}  // namespace nestor::server
