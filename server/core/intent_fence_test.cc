#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "server/core/explain.h"
#include "server/core/host_claim.h"
#include "server/core/host_intent.h"
#include "server/core/test_view.h"
#include "server/core/timeline.h"

namespace nestor::server {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kOperator[] = "spiffe://x/operator";

// A silent host with a programmed binding "b", and a binding "c" that waits for deletion.
class FenceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    state_.AddConnectedHost();
    machine_uid_ = state_.CreateMachine(WantedMachine({kDevice}))->metadata().uid();
    binding_uid_ = state_.CreateBinding(WantedBinding(BindingName("b"), 1))->metadata().uid();
    ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("c"), 2)).ok());
    ASSERT_TRUE(state_.DeleteBinding(BindingName("c")).ok());
    v1::PasidBindingStatus programmed;
    programmed.set_state(v1::PasidBindingStatus::STATE_PROGRAMMED);
    programmed.set_observed_generation(1);
    programmed.set_programmed_generation(1);
    programmed.set_programmed_root(0x1000);
    state_.Observe(BindingName("b"), programmed);
    state_.SetHostState(v1::HostStatus::STATE_UNKNOWN);
  }

  absl::StatusOr<v1::Host> Fence(bool force = false) {
    v1::FenceHostRequest request;
    request.set_name(kHost);
    request.set_evidence("its power is off");
    request.set_force(force);
    return state_.Do<v1::Host>(FenceHost(state_.view(), TestTime(300), kOperator, request));
  }

  v1::PasidBinding Binding(const std::string& id) {
    return state_.view().PasidBindingResource(BindingName(id));
  }

  v1::Hello Hello(bool holds) const {
    v1::Hello hello;
    hello.set_host(kHost);
    hello.set_agent_instance("agent");
    hello.set_boot_id("boot");
    hello.mutable_inventory();
    if (!holds) return hello;
    v1::HeldVirtualMachine& machine = *hello.add_held_virtual_machines();
    machine.set_name(kMachine);
    machine.set_uid(machine_uid_);
    machine.set_generation(1);
    hello.add_held_bindings()->set_uid(binding_uid_);
    return hello;
  }

  HostClaim Connect(bool holds) {
    HostClaim claim =
        ClaimHost(state_.view(), TestTime(400), Hello(holds), "session", "uid-of-new-host");
    EXPECT_TRUE(state_.Commit(claim.transaction).ok());
    return claim;
  }

  TestView state_;
  std::string machine_uid_;
  std::string binding_uid_;
};

TEST_F(FenceTest, SaysWhoDeclaredItWhenAndWhy) {
  const v1::HostStatus status = Fence()->status();
  EXPECT_EQ(status.state(), v1::HostStatus::STATE_FENCED);
  EXPECT_EQ(status.fence().declared_by(), kOperator);
  EXPECT_EQ(status.fence().evidence(), "its power is off");
  EXPECT_EQ(status.fence().time().seconds(), 300);
  EXPECT_EQ(status.fence().epoch(), 1);
  EXPECT_FALSE(status.fence().forced());
  EXPECT_EQ(state_.view().HostResource(kHostId).status().fence().declared_by(), kOperator);
}

TEST_F(FenceTest, IsSyncedAndTakesTheNextEpoch) {
  Connect(true);
  state_.SetHostState(v1::HostStatus::STATE_UNKNOWN);
  v1::FenceHostRequest request;
  request.set_name(kHost);
  const auto decision = FenceHost(state_.view(), TestTime(300), kOperator, request);
  EXPECT_EQ(decision->transaction.durability, Durability::kSynced);
  ASSERT_TRUE(state_.Commit(decision->transaction).ok());
  EXPECT_EQ(state_.view().Epoch(kHostId).epoch, 2);
}

TEST_F(FenceTest, LosesAgainstAHelloInTheSameMoment) {
  v1::FenceHostRequest request;
  request.set_name(kHost);
  const auto decision = FenceHost(state_.view(), TestTime(300), kOperator, request);
  Connect(true);
  EXPECT_TRUE(absl::IsAborted(state_.Commit(decision->transaction).status()));
}

TEST_F(FenceTest, FreesThePasidsOfWhatWaitedForDeletion) {
  ASSERT_TRUE(Fence().ok());
  EXPECT_FALSE(state_.view().FindPasidBinding(BindingName("c")).has_value());
  EXPECT_TRUE(state_.view().PasidClaim(kHostId, kDevice, 2).holder.empty());
  EXPECT_FALSE(state_.view().PasidClaim(kHostId, kDevice, 1).holder.empty()) << "still wanted";
}

TEST_F(FenceTest, BindingThatRemainsIsNotProgrammedAndNeverUnknown) {
  EXPECT_EQ(Binding("b").status().state(), v1::PasidBindingStatus::STATE_UNKNOWN);
  ASSERT_TRUE(Fence().ok());
  const v1::PasidBindingStatus status = Binding("b").status();
  EXPECT_EQ(status.state(), v1::PasidBindingStatus::STATE_NOT_PROGRAMMED);
  EXPECT_EQ(status.failure().reason(), "HOST_FENCED");
  EXPECT_THAT(status.failure().message(), HasSubstr("its power is off"));
  EXPECT_EQ(status.programmed_generation(), 0);
  for (const v1::Condition& condition : status.conditions()) {
    EXPECT_EQ(condition.status(), v1::Condition::TRUTH_FALSE);
    EXPECT_EQ(condition.reason(), "HOST_FENCED");
  }
  const StateCounts counts = state_.view().CountStates();
  EXPECT_EQ(counts.bindings[v1::PasidBindingStatus::STATE_NOT_PROGRAMMED], 1);
  EXPECT_EQ(counts.bindings[v1::PasidBindingStatus::STATE_UNKNOWN], 0);
}

TEST_F(FenceTest, MachineThatRemainsIsPendingWithTheReason) {
  ASSERT_TRUE(Fence().ok());
  const v1::VirtualMachineStatus status = state_.view().VirtualMachineResource(kMachine).status();
  EXPECT_EQ(status.state(), v1::VirtualMachineStatus::STATE_PENDING);
  EXPECT_EQ(status.programmed_bindings(), 0);
  ASSERT_THAT(status.conditions(), SizeIs(1));
  EXPECT_EQ(status.conditions(0).reason(), "HOST_FENCED");
}

TEST_F(FenceTest, EverythingPlacedThereIsToldToWatchers) {
  storage::v1::HostFenceRow row;
  View copy;
  std::vector<StateChange> changes;
  for (const auto& [key, kv] : state_.rows()) {
    ASSERT_TRUE(copy.Apply({kv.mod_revision, key, kv.value}, &changes).ok());
  }
  changes.clear();
  ASSERT_TRUE(copy.Apply({99, keys::HostFence(kHostId), row.SerializeAsString()}, &changes).ok());
  std::vector<std::string> names;
  names.reserve(changes.size());
  for (const StateChange& change : changes) names.push_back(change.name);
  EXPECT_THAT(names, ElementsAre(kHost, kMachine, BindingName("b"), BindingName("c")));
  EXPECT_TRUE(changes[0].intent) << "sessions look at their epoch for it";
}

struct RefusedCase {
  const char* name;
  std::function<absl::Status(TestView&)> attempt;
};

class FencedHostTest : public FenceTest, public ::testing::WithParamInterface<RefusedCase> {};

TEST_P(FencedHostTest, TakesNothingNew) {
  ASSERT_TRUE(Fence().ok());
  const absl::Status status = GetParam().attempt(state_);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(status), "HOST_FENCED");
  EXPECT_THAT(std::string(status.message()), HasSubstr("nestorctl describe host h1"));
}

INSTANTIATE_TEST_SUITE_P(
    Each, FencedHostTest,
    ::testing::Values(
        RefusedCase{"Machine",
                    [](TestView& state) {
                      return state
                          .CreateMachine(
                              WantedMachine({kOtherDevice}, "projects/p/virtualMachines/other"))
                          .status();
                    }},
        RefusedCase{"MachinesDevices",
                    [](TestView& state) {
                      v1::UpdateVirtualMachineRequest request;
                      *request.mutable_virtual_machine() = WantedMachine({kDevice, kOtherDevice});
                      return UpdateVirtualMachine(state.view(), TestTime(2), request).status();
                    }},
        RefusedCase{"Binding",
                    [](TestView& state) {
                      return state.CreateBinding(WantedBinding(BindingName("d"), 3)).status();
                    }},
        RefusedCase{
            "BindingsRoot",
            [](TestView& state) {
              v1::UpdatePasidBindingRequest request;
              *request.mutable_pasid_binding() = WantedBinding(BindingName("b"), 1);
              request.mutable_pasid_binding()->mutable_spec()->mutable_page_table()->set_root(
                  0x5000);
              return UpdatePasidBinding(state.view(), TestTime(2), request).status();
            }}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_F(FenceTest, DeletionOnAFencedHostWaitsForNobody) {
  ASSERT_TRUE(Fence().ok());
  ASSERT_TRUE(state_.DeleteBinding(BindingName("b")).ok());
  EXPECT_FALSE(state_.view().FindPasidBinding(BindingName("b")).has_value());
  EXPECT_TRUE(state_.view().PasidClaim(kHostId, kDevice, 1).holder.empty());
}

TEST_F(FenceTest, DeletionDecidedBeforeTheFenceIsDecidedAgain) {
  v1::DeletePasidBindingRequest request;
  request.set_name(BindingName("b"));
  const auto decision = DeletePasidBinding(state_.view(), TestTime(200), request);
  ASSERT_TRUE(Fence().ok());
  EXPECT_TRUE(absl::IsAborted(state_.Commit(decision->transaction).status()));
}

TEST_F(FenceTest, BindingDecidedBeforeTheFenceIsDecidedAgain) {
  v1::CreatePasidBindingRequest request;
  *request.mutable_pasid_binding() = WantedBinding(BindingName("d"), 3);
  const auto decision = CreatePasidBinding(state_.view(), TestTime(200), state_.uids(), request);
  ASSERT_TRUE(Fence().ok());
  EXPECT_TRUE(absl::IsAborted(state_.Commit(decision->transaction).status()));
}

TEST_F(FenceTest, ConnectedHostIsFencedByForceOnly) {
  state_.SetHostState(v1::HostStatus::STATE_CONNECTED);
  const absl::Status refused = Fence().status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(refused), "HOST_CONNECTED");
  EXPECT_TRUE(Fence(true)->status().fence().forced());
}

TEST_F(FenceTest, UnknownHostIsNotFound) {
  v1::FenceHostRequest request;
  request.set_name("hosts/stranger");
  EXPECT_TRUE(absl::IsNotFound(FenceHost(state_.view(), TestTime(1), kOperator, request).status()));
  EXPECT_TRUE(absl::IsNotFound(PurgeFencedHost(state_.view(), TestTime(301), "stranger").status()));
}

TEST_F(FenceTest, SecondFenceKeepsTheFirstWordAndChangesNothing) {
  ASSERT_TRUE(Fence().ok());
  v1::FenceHostRequest request;
  request.set_name(kHost);
  request.set_evidence("something else");
  const auto again = FenceHost(state_.view(), TestTime(500), "another", request);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->changes_nothing());
  EXPECT_EQ(dynamic_cast<const v1::Host&>(*again->reply).status().fence().evidence(),
            "its power is off");
}

TEST_F(FenceTest, ManyDeletionsGoInBoundedTransactions) {
  for (int i = 0; i < kPurgedAtOnce + 10; ++i) {
    const std::string name = BindingName(absl::StrCat("x", i));
    state_.SetHostState(v1::HostStatus::STATE_CONNECTED);
    ASSERT_TRUE(state_.CreateBinding(WantedBinding(name, 100 + i)).ok());
    ASSERT_TRUE(state_.DeleteBinding(name).ok());
  }
  ASSERT_TRUE(Fence(true).ok());
  EXPECT_THAT(state_.view().BindingsOf(kMachine), SizeIs(1 + 11));
  const auto rest = PurgeFencedHost(state_.view(), TestTime(301), kHostId);
  ASSERT_TRUE(state_.Commit(rest->transaction).ok());
  EXPECT_THAT(state_.view().BindingsOf(kMachine), ElementsAre(BindingName("b")));
  EXPECT_TRUE(PurgeFencedHost(state_.view(), TestTime(301), kHostId)->changes_nothing());
}

TEST_F(FenceTest, DeletedMachineGoesWithItsLastBinding) {
  v1::DeleteVirtualMachineRequest request;
  request.set_name(kMachine);
  request.set_force(true);
  ASSERT_TRUE(
      state_.Do<v1::VirtualMachine>(DeleteVirtualMachine(state_.view(), TestTime(200), request))
          .ok());
  ASSERT_NE(state_.view().FindVirtualMachine(kMachine), nullptr);
  ASSERT_TRUE(Fence().ok());
  EXPECT_EQ(state_.view().FindVirtualMachine(kMachine), nullptr);
  EXPECT_TRUE(state_.view().DeviceClaim(kHostId, kDevice).holder.empty());
}

TEST_F(FenceTest, NothingGoesOnAHostThatIsNotFenced) {
  EXPECT_TRUE(PurgeFencedHost(state_.view(), TestTime(301), kHostId)->changes_nothing());
}

TEST_F(FenceTest, ReturningHostThatHoldsSomethingIsToldToReleaseItAndNothingElse) {
  ASSERT_TRUE(Fence().ok());
  EXPECT_TRUE(Connect(true).must_release);
  EXPECT_EQ(state_.view().HostResource(kHostId).status().state(), v1::HostStatus::STATE_FENCED);
  EXPECT_THAT(IntentOfHost(state_.view(), kHostId).virtual_machines, IsEmpty());
  EXPECT_THAT(IntentOfHost(state_.view(), kHostId).bindings, IsEmpty());
  const HostIntent release = ReleaseIntent(Hello(true));
  ASSERT_THAT(release.virtual_machines, SizeIs(1));
  EXPECT_EQ(release.virtual_machines[0].uid(), machine_uid_);
  EXPECT_TRUE(release.virtual_machines[0].absent());
}

TEST_F(FenceTest, HelloThatHoldsNothingLiftsTheFence) {
  ASSERT_TRUE(Fence().ok());
  EXPECT_FALSE(Connect(false).must_release);
  EXPECT_EQ(state_.view().FindFence(kHostId), nullptr);
  EXPECT_EQ(state_.view().HostResource(kHostId).status().state(), v1::HostStatus::STATE_CONNECTED);
  EXPECT_THAT(IntentOfHost(state_.view(), kHostId).bindings, SizeIs(1));
  // Known not to be there, until the agent says otherwise.
  EXPECT_EQ(Binding("b").status().state(), v1::PasidBindingStatus::STATE_NOT_PROGRAMMED);
  EXPECT_EQ(Binding("b").status().failure().reason(), "WAITING_FOR_AGENT");
}

TEST_F(FenceTest, OutlivesTheDeletionOfTheHost) {
  ASSERT_TRUE(Fence().ok());
  v1::DeleteVirtualMachineRequest machine;
  machine.set_name(kMachine);
  machine.set_force(true);
  ASSERT_TRUE(
      state_.Do<v1::VirtualMachine>(DeleteVirtualMachine(state_.view(), TestTime(350), machine))
          .ok());
  v1::DeleteHostRequest host;
  host.set_name(kHost);
  ASSERT_TRUE(state_.Commit(DeleteHost(state_.view(), host)->transaction).ok());
  EXPECT_EQ(state_.view().FindHost(kHostId), nullptr);
  EXPECT_TRUE(Connect(true).must_release);
  EXPECT_EQ(state_.view().HostResource(kHostId).status().state(), v1::HostStatus::STATE_FENCED);
}

TEST_F(FenceTest, IsExplainedAndToldInTheTimeline) {
  ASSERT_TRUE(Fence().ok());
  const v1::ExplainPasidBindingResponse why = Explain(state_.view(), BindingName("b"));
  EXPECT_EQ(why.reason(), "HOST_FENCED");
  EXPECT_THAT(why.cause(), HasSubstr("confirmed hosts/h1 dead"));
  EXPECT_THAT(why.cause(), HasSubstr("its power is off"));
  EXPECT_THAT(why.next_step(), HasSubstr("start nestor-agent on hosts/h1"));
  Connect(false);
  std::vector<std::string> words;
  const auto timeline = Timeline(state_.view(), BindingName("b"));
  for (const auto& event : timeline.events()) words.push_back(event.message());
  EXPECT_THAT(words,
              Contains(HasSubstr("confirmed dead by spiffe://x/operator: its power is off")));
  EXPECT_THAT(words, Contains(HasSubstr("lifted the fence")));
}

}  // namespace
}  // namespace nestor::server
