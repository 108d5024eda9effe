#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/core/test_view.h"

namespace nestor::server {
namespace {

// A machine with two bindings.
class PurgeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    state_.AddConnectedHost();
    machine_ = state_.CreateMachine(WantedMachine({kDevice}))->metadata().uid();
    binding_ = state_.CreateBinding(WantedBinding(BindingName("b"), 1))->metadata().uid();
    other_ = state_.CreateBinding(WantedBinding(BindingName("c"), 2))->metadata().uid();
  }

  void DeleteAll() {
    v1::DeleteVirtualMachineRequest request;
    request.set_name(kMachine);
    request.set_force(true);
    ASSERT_TRUE(
        state_.Do<v1::VirtualMachine>(DeleteVirtualMachine(state_.view(), TestTime(2), request))
            .ok());
  }

  TestView state_;
  std::string machine_;
  std::string binding_;
  std::string other_;
};

TEST_F(PurgeTest, LeavesWhatIsNotBeingDeleted) {
  EXPECT_TRUE(
      Purge(state_.view(), TestTime(9), kHostId, {binding_}, {{machine_, 2}}).changes_nothing());
}

TEST_F(PurgeTest, LeavesOutUnknownUids) {
  EXPECT_TRUE(Purge(state_.view(), TestTime(9), kHostId, {"stranger"}, {{"stranger", 2}})
                  .changes_nothing());
}

TEST_F(PurgeTest, KeepsTheMachineWhileABindingIsLeft) {
  DeleteAll();
  ASSERT_TRUE(
      state_
          .Commit(
              Purge(state_.view(), TestTime(9), kHostId, {binding_}, {{machine_, 2}}).transaction)
          .ok());
  EXPECT_FALSE(state_.view().FindPasidBinding(BindingName("b")).has_value());
  EXPECT_NE(state_.view().FindVirtualMachine(kMachine), nullptr);
  EXPECT_EQ(state_.view().DeviceClaim(kHostId, kDevice).holder, kMachine);
}

TEST_F(PurgeTest, LeavesNothingBehindInOneTransaction) {
  v1::PasidBindingStatus observed;
  observed.set_state(v1::PasidBindingStatus::STATE_PROGRAMMED);
  state_.Observe(BindingName("b"), observed);
  DeleteAll();
  const Decision decision =
      Purge(state_.view(), TestTime(9), kHostId, {binding_, other_}, {{machine_, 2}});
  EXPECT_EQ(decision.reply, nullptr);
  ASSERT_TRUE(state_.Commit(decision.transaction).ok());
  for (const auto& [key, row] : state_.rows()) {
    EXPECT_THAT(key, ::testing::MatchesRegex("(h|oh|od)/.*"));
  }
}

}  // namespace
}  // namespace nestor::server
