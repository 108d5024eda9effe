// Virtual machines that go to another host, between agents that are there.

#include <gmock/gmock.h>

#include "server/service/service_fixture.h"

namespace nestor::server {
namespace {

using ::testing::SizeIs;

constexpr char kNewHost[] = "hosts/h2";

// Of an agent of kNewHost that holds nothing.
v1::SyncRequest NewHostHello() {
  v1::SyncRequest message = TestHello(kOtherBootId);
  v1::Hello& hello = *message.mutable_hello();
  hello.set_host(kNewHost);
  for (v1::Device& device : *hello.mutable_inventory()->mutable_devices()) {
    device.set_name(absl::StrCat(kNewHost, device.name().substr(std::string(kHost).size())));
  }
  return message;
}

class MoveServiceTest : public AgentServiceTest {
 protected:
  absl::StatusOr<v1::VirtualMachine> Move() {
    v1::UpdateVirtualMachineRequest request;
    *request.mutable_virtual_machine() = WantedMachine({kDevice}, kMachine, kNewHost);
    return Call(server_.machines(), &Machines::UpdateVirtualMachine, request);
  }
};

TEST_F(MoveServiceTest, NewAgentIsToldOnlyAfterTheOldOneHasLetGo) {
  auto old_agent = ConnectAndProgram();
  TestAgent new_agent(server_);
  new_agent.Connect(NewHostHello());
  EXPECT_EQ(Must(Move()).status().leaving_host(), kHost);
  const v1::Desired release = old_agent->ReadDesired();
  ASSERT_THAT(release.virtual_machines(), SizeIs(1));
  EXPECT_TRUE(release.virtual_machines(0).absent());
  EXPECT_EQ(
      ErrorReason(
          Wait("b", v1::WaitPasidBindingRequest::WANT_PROGRAMMED, absl::Milliseconds(50)).status()),
      "WAIT_TIMEOUT");
  old_agent->Send(AnswerTo(release));
  // The first thing that it hears after Welcome.
  const v1::Desired desired = new_agent.ReadDesired();
  EXPECT_EQ(desired.delivery_seq(), 1);
  ASSERT_THAT(desired.virtual_machines(), SizeIs(1));
  EXPECT_FALSE(desired.virtual_machines(0).absent());
  new_agent.Send(AnswerTo(desired));
  if (desired.bindings().empty()) new_agent.Send(AnswerTo(new_agent.ReadDesired()));
  EXPECT_EQ(Must(Wait("b")).pasid_binding().status().programmed_generation(), 2);
}

TEST_F(MoveServiceTest, WaitOutlivesARestartOfTheServer) {
  auto old_agent = ConnectAndProgram();
  const std::string uid = Must(GetBinding("b")).metadata().uid();
  {
    TestAgent new_agent(server_);
    new_agent.Connect(NewHostHello());
    Must(Move());
  }
  old_agent.reset();
  server_.Restart();
  TestAgent new_agent(server_);
  new_agent.Connect(NewHostHello());
  // The old agent holds the machine no more: it says so when it is asked.
  TestAgent back(server_);
  back.Connect();
  const v1::Desired release = back.ReadDesired();
  ASSERT_THAT(release.virtual_machines(), SizeIs(1));
  EXPECT_TRUE(release.virtual_machines(0).absent());
  back.Send(AnswerTo(release));
  v1::Desired desired = new_agent.ReadDesired();
  new_agent.Send(AnswerTo(desired));
  if (desired.bindings().empty()) {
    desired = new_agent.ReadDesired();
    new_agent.Send(AnswerTo(desired));
  }
  ASSERT_THAT(desired.bindings(), SizeIs(1));
  EXPECT_EQ(desired.bindings(0).uid(), uid);
  Must(Wait("b"));
}

}  // namespace
}  // namespace nestor::server
