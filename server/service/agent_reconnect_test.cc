// Hosts that fall silent, come back, or were started anew.

#include <gmock/gmock.h>

#include "server/service/service_fixture.h"

namespace nestor::server {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr auto kAbsent = v1::WaitPasidBindingRequest::WANT_ABSENT;

class AgentReconnectTest : public AgentServiceTest {};

TEST_F(AgentReconnectTest, BindingThatTheHostNoLongerHoldsIsNotProgrammed) {
  auto agent = ConnectAndProgram();
  agent.reset();  // the machine reboots
  server_.Restart();
  TestAgent rebooted(server_);
  rebooted.Connect(TestHello(kOtherBootId));
  const v1::Desired desired = rebooted.ReadDesired();
  EXPECT_THAT(desired.virtual_machines(), SizeIs(1));
  EXPECT_THAT(desired.bindings(), SizeIs(1));
  const absl::Status waited =
      Wait("b", v1::WaitPasidBindingRequest::WANT_PROGRAMMED, absl::Milliseconds(50)).status();
  EXPECT_EQ(ErrorReason(waited), "WAIT_TIMEOUT");
  EXPECT_EQ(Must(GetBinding("b")).status().programmed_generation(), 0);
  rebooted.Send(AnswerTo(desired));
  Must(Wait("b"));
}

TEST_F(AgentReconnectTest, TimelineTellsWhatHappenedBeforeARestart) {
  auto agent = ConnectAndProgram();
  agent.reset();  // the machine reboots
  server_.Restart();
  TestAgent rebooted(server_);
  rebooted.Connect(TestHello(kOtherBootId));
  rebooted.Send(AnswerTo(rebooted.ReadDesired()));
  Must(Wait("b"));
  v1::GetPasidBindingTimelineRequest request;
  request.set_name(BindingName("b"));
  const auto timeline = Must(Call(server_.bindings(), &Bindings::GetPasidBindingTimeline, request));
  std::vector<v1::TimelineEvent::Kind> kinds;
  for (const v1::TimelineEvent& event : timeline.events()) kinds.push_back(event.kind());
  // The test's clock stands still.
  EXPECT_THAT(kinds,
              UnorderedElementsAre(
                  v1::TimelineEvent::KIND_HOST_CONNECTED, v1::TimelineEvent::KIND_PERSISTED,
                  v1::TimelineEvent::KIND_PROGRAMMED, v1::TimelineEvent::KIND_NOT_PROGRAMMED,
                  v1::TimelineEvent::KIND_HOST_REBOOTED, v1::TimelineEvent::KIND_PROGRAMMED));
}

TEST_F(AgentReconnectTest, BindingThatTheHostStillHoldsStaysProgrammedOverARestart) {
  auto agent = ConnectAndProgram();
  const v1::PasidBinding before = Must(GetBinding("b"));
  agent.reset();
  server_.Restart();
  TestAgent again(server_);
  v1::SyncRequest hello = TestHello();
  v1::Result& held = *hello.mutable_hello()->add_held_bindings();
  held.set_uid(before.metadata().uid());
  held.set_generation(1);
  held.set_outcome(v1::Result::OUTCOME_PROGRAMMED);
  held.set_device(kDevice);
  held.set_pasid(7);
  held.set_programmed_root(0x1000);
  held.set_programmed_generation(1);
  again.Connect(hello);
  // The machine was not held, so it alone is told.
  const v1::Desired desired = again.ReadDesired();
  EXPECT_THAT(desired.virtual_machines(), SizeIs(1));
  EXPECT_THAT(desired.bindings(), IsEmpty());
  EXPECT_EQ(Must(Wait("b")).pasid_binding().status().programmed_root(), 0x1000u);
}

TestServerOptions ShortLease() {
  TestServerOptions options;
  options.lease_ttl = absl::Milliseconds(50);
  return options;
}

class ShortLeaseTest : public AgentServiceTest {
 protected:
  ShortLeaseTest() : AgentServiceTest(ShortLease()) {}
};

TEST_F(ShortLeaseTest, SilentHostBecomesUnknownAndComesBack) {
  auto agent = ConnectAndProgram();
  server_.clock().Advance(absl::Seconds(1));
  const absl::Status end = agent->End();
  EXPECT_EQ(end.code(), absl::StatusCode::kUnavailable);
  ASSERT_TRUE(AwaitHostState(v1::HostStatus::STATE_UNKNOWN));
  // Nothing is freed, and nothing is claimed to work.
  EXPECT_EQ(Must(GetBinding("b")).status().state(), v1::PasidBindingStatus::STATE_UNKNOWN);
  EXPECT_EQ(ErrorReason(TryCreateBinding(WantedBinding(BindingName("c"), 7)).status()),
            "PASID_IN_USE");
  EXPECT_EQ(DeleteBinding("b").status().state(), v1::PasidBindingStatus::STATE_DELETING);
  EXPECT_EQ(ErrorReason(Wait("b", kAbsent, absl::Milliseconds(20)).status()), "WAIT_TIMEOUT");

  TestAgent back(server_);
  const v1::Welcome welcome = back.Connect();
  EXPECT_EQ(welcome.fence().epoch(), 2);
  EXPECT_EQ(GetHost().status().state(), v1::HostStatus::STATE_CONNECTED);
  const v1::Desired desired = back.ReadDesired();
  ASSERT_THAT(desired.bindings(), SizeIs(1));
  EXPECT_TRUE(desired.bindings(0).absent());
  back.Send(AnswerTo(desired));
  Must(Wait("b", kAbsent));
}

TEST_F(ShortLeaseTest, HostThatDoesNotReturnAfterARestartBecomesUnknown) {
  auto agent = ConnectAndProgram();
  agent.reset();
  server_.Restart();
  EXPECT_TRUE(AwaitHostState(v1::HostStatus::STATE_UNKNOWN));
}

TEST_F(ShortLeaseTest, BrokenStreamKeepsTheHostConnectedUntilTheLeaseRunsOut) {
  auto agent = ConnectAndProgram();
  agent.reset();
  EXPECT_EQ(Must(GetBinding("b")).status().state(), v1::PasidBindingStatus::STATE_PROGRAMMED);
  server_.clock().Advance(absl::Seconds(1));
  EXPECT_TRUE(AwaitHostState(v1::HostStatus::STATE_UNKNOWN));
}

}  // namespace
}  // namespace nestor::server
