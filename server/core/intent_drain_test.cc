#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/core/test_view.h"
#include "server/core/timeline.h"

namespace nestor::server {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr char kOperator[] = "spiffe://x/operator";

// A host with a machine that has one binding.
class DrainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    state_.AddConnectedHost();
    ASSERT_TRUE(state_.CreateMachine(WantedMachine({kDevice})).ok());
    ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("b"), 1)).ok());
  }

  absl::StatusOr<Decision> DecideDrain() {
    v1::DrainHostRequest request;
    request.set_name(kHost);
    return DrainHost(state_.view(), TestTime(300), kOperator, request);
  }
  absl::StatusOr<v1::Host> Drain() { return state_.Do<v1::Host>(DecideDrain()); }
  absl::StatusOr<v1::Host> Undrain() {
    v1::UndrainHostRequest request;
    request.set_name(kHost);
    return state_.Do<v1::Host>(UndrainHost(state_.view(), TestTime(400), kOperator, request));
  }
  absl::StatusOr<v1::VirtualMachine> CreateOther() {
    return state_.CreateMachine(WantedMachine({kOtherDevice}, "projects/p/virtualMachines/other"));
  }

  TestView state_;
};

TEST_F(DrainTest, CountsWhatRemains) {
  const v1::HostStatus status = Drain()->status();
  EXPECT_EQ(status.drain().requested_by(), kOperator);
  EXPECT_EQ(status.drain().start_time().seconds(), 300);
  EXPECT_EQ(status.drain().virtual_machines(), 1);
  EXPECT_EQ(status.drain().bindings(), 1);
  ASSERT_THAT(status.conditions(), SizeIs(1));
  EXPECT_EQ(status.conditions(0).type(), "Drained");
  EXPECT_EQ(status.conditions(0).status(), v1::Condition::TRUTH_FALSE);
  EXPECT_THAT(status.conditions(0).message(), HasSubstr("1 virtual machines with 1 bindings"));
}

TEST_F(DrainTest, IsOverWhenNothingIsPlacedThere) {
  ASSERT_TRUE(Drain().ok());
  state_.Delete(keys::PasidBinding(*PasidBindingName::Parse(BindingName("b"))));
  state_.Delete(keys::VirtualMachine(*VirtualMachineName::Parse(kMachine)));
  const v1::HostStatus status = state_.view().HostResource(kHostId).status();
  EXPECT_EQ(status.drain().virtual_machines(), 0);
  EXPECT_EQ(status.conditions(0).status(), v1::Condition::TRUTH_TRUE);
}

TEST_F(DrainTest, TakesNoNewMachineAndNoNewBinding) {
  ASSERT_TRUE(Drain().ok());
  const absl::Status machine = CreateOther().status();
  EXPECT_EQ(machine.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(machine), "HOST_DRAINING");
  EXPECT_THAT(std::string(machine.message()), HasSubstr("nestorctl undrain-host h1"));
  EXPECT_EQ(ErrorReason(state_.CreateBinding(WantedBinding(BindingName("c"), 2)).status()),
            "HOST_DRAINING");
}

TEST_F(DrainTest, LeavesWhatIsThereToItsOwners) {
  ASSERT_TRUE(Drain().ok());
  v1::UpdatePasidBindingRequest request;
  *request.mutable_pasid_binding() = WantedBinding(BindingName("b"), 1);
  request.mutable_pasid_binding()->mutable_spec()->mutable_page_table()->set_root(0x5000);
  EXPECT_TRUE(UpdatePasidBinding(state_.view(), TestTime(310), request).ok());
  EXPECT_TRUE(state_.DeleteBinding(BindingName("b")).ok());
}

TEST_F(DrainTest, BindingDecidedBeforeItIsDecidedAgain) {
  v1::CreatePasidBindingRequest request;
  *request.mutable_pasid_binding() = WantedBinding(BindingName("c"), 2);
  const auto decision = CreatePasidBinding(state_.view(), TestTime(200), state_.uids(), request);
  ASSERT_TRUE(Drain().ok());
  EXPECT_TRUE(absl::IsAborted(state_.Commit(decision->transaction).status()));
}

TEST_F(DrainTest, SecondTimeChangesNothingAndCountsAnew) {
  ASSERT_TRUE(Drain().ok());
  const auto again = DecideDrain();
  EXPECT_TRUE(again->changes_nothing());
  const auto& host = dynamic_cast<const v1::Host&>(*again->reply);
  EXPECT_EQ(host.status().drain().virtual_machines(), 1);
}

TEST_F(DrainTest, UndrainedHostTakesNewMachines) {
  ASSERT_TRUE(Drain().ok());
  EXPECT_FALSE(Undrain()->status().has_drain());
  EXPECT_TRUE(CreateOther().ok());
}

TEST_F(DrainTest, UndrainOfAHostThatIsNotDrainedChangesNothing) {
  v1::UndrainHostRequest request;
  request.set_name(kHost);
  EXPECT_TRUE(UndrainHost(state_.view(), TestTime(1), kOperator, request)->changes_nothing());
}

TEST_F(DrainTest, UpdateOfTheHostKeepsIt) {
  ASSERT_TRUE(Drain().ok());
  v1::UpdateHostRequest request;
  request.mutable_host()->set_name(kHost);
  request.mutable_host()->mutable_spec()->set_cordoned(true);
  const auto host = state_.Do<v1::Host>(UpdateHost(state_.view(), TestTime(310), request));
  EXPECT_TRUE(host->status().has_drain());
}

TEST_F(DrainTest, UnknownHostIsNotFound) {
  v1::DrainHostRequest request;
  request.set_name("hosts/stranger");
  EXPECT_TRUE(absl::IsNotFound(DrainHost(state_.view(), TestTime(1), kOperator, request).status()));
}

TEST_F(DrainTest, IsToldInTheTimelinesOfWhatIsThere) {
  ASSERT_TRUE(Drain().ok());
  ASSERT_TRUE(Undrain().ok());
  std::vector<std::string> words;
  const auto timeline = Timeline(state_.view(), BindingName("b"));
  for (const auto& event : timeline.events()) words.push_back(event.message());
  EXPECT_THAT(words, ::testing::Contains(HasSubstr("operator began to empty hosts/h1")));
  EXPECT_THAT(words, ::testing::Contains(HasSubstr("let hosts/h1 take what is new again")));
}

}  // namespace
}  // namespace nestor::server
