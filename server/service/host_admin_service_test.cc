// Hosts that are fenced, come back, and are emptied.

#include "server/service/host_admin_service.h"

#include <gmock/gmock.h>

#include "server/service/service_fixture.h"

namespace nestor::server {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class HostAdminServiceTest : public AgentServiceTest {
 protected:
  absl::StatusOr<v1::Host> Fence(bool force, const std::string& evidence = "its power is off") {
    v1::FenceHostRequest request;
    request.set_name(kHost);
    request.set_evidence(evidence);
    request.set_force(force);
    return Call(server_.host_admin(), &HostAdmin::FenceHost, request);
  }

  // An agent that holds the machine and binding "b", as they are stored now.
  v1::SyncRequest HelloThatHolds() {
    v1::SyncRequest message = TestHello();
    const v1::PasidBinding binding = Must(GetBinding("b"));
    v1::GetVirtualMachineRequest request;
    request.set_name(kMachine);
    const v1::VirtualMachine machine =
        Must(Call(server_.machines(), &Machines::GetVirtualMachine, request));
    v1::HeldVirtualMachine& held = *message.mutable_hello()->add_held_virtual_machines();
    held.set_name(kMachine);
    held.set_uid(machine.metadata().uid());
    held.set_generation(machine.metadata().generation());
    v1::Result& held_binding = *message.mutable_hello()->add_held_bindings();
    held_binding.set_uid(binding.metadata().uid());
    held_binding.set_generation(binding.metadata().generation());
    held_binding.set_outcome(v1::Result::OUTCOME_PROGRAMMED);
    held_binding.set_device(kDevice);
    held_binding.set_pasid(7);
    return message;
  }
};

TEST_F(HostAdminServiceTest, ConnectedHostIsFencedByForceOnlyAndItsSessionEnds) {
  auto agent = ConnectAndProgram();
  EXPECT_EQ(ReasonOf(Fence(false)), "HOST_CONNECTED");
  const v1::Host host = Must(Fence(true));
  EXPECT_EQ(host.status().state(), v1::HostStatus::STATE_FENCED);
  EXPECT_EQ(host.status().fence().declared_by(), "local");
  EXPECT_EQ(ErrorReason(agent->End()), "SESSION_SUPERSEDED");
  EXPECT_EQ(Must(GetBinding("b")).status().state(), v1::PasidBindingStatus::STATE_NOT_PROGRAMMED);
}

TEST_F(HostAdminServiceTest, AnswersOfTheOldSessionCountNoMore) {
  auto agent = std::make_unique<TestAgent>(server_);
  agent->Connect();
  CreateMachine();
  agent->Send(AnswerTo(agent->ReadDesired()));
  CreateBinding("b", 7);
  const v1::Desired desired = agent->ReadDesired();
  Must(Fence(true));
  agent->Send(AnswerTo(desired));
  EXPECT_EQ(ErrorReason(agent->End()), "SESSION_SUPERSEDED");
  EXPECT_EQ(Must(GetBinding("b")).status().failure().reason(), "HOST_FENCED");
}

TEST_F(HostAdminServiceTest, FenceWithoutEvidenceIsRefused) {
  CreateHost();
  ExpectRefused(Fence(false, " ").status(), "evidence");
  ExpectRefused(Fence(false, "two\nlines").status(), "evidence");
  ExpectRefused(Fence(false, std::string(513, 'x')).status(), "evidence");
}

TEST_F(HostAdminServiceTest, ThousandsOfDeletionsAreGoneWithTheFence) {
  auto agent = ConnectAndProgram();
  for (int i = 0; i < 3 * kPurgedAtOnce; ++i) {
    CreateBinding(absl::StrCat("x", i), 100 + i);
    DeleteBinding(absl::StrCat("x", i));
  }
  Must(Fence(true));
  v1::ListPasidBindingsRequest request;
  request.set_parent(kMachine);
  request.set_page_size(1000);
  EXPECT_THAT(
      Must(Call(server_.bindings(), &Bindings::ListPasidBindings, request)).pasid_bindings(),
      SizeIs(1));
}

TEST_F(HostAdminServiceTest, HostThatReturnsWithBindingsReleasesThemBeforeAnythingElse) {
  auto agent = ConnectAndProgram();
  const v1::SyncRequest holding = HelloThatHolds();
  Must(Fence(true));
  EXPECT_EQ(ErrorReason(agent->End()), "SESSION_SUPERSEDED");

  TestAgent back(server_);
  EXPECT_EQ(back.Connect(holding).fence().epoch(), 3) << "the fence took epoch 2";
  const v1::Desired desired = back.ReadDesired();
  ASSERT_THAT(desired.virtual_machines(), SizeIs(1));
  EXPECT_TRUE(desired.virtual_machines(0).absent());
  EXPECT_THAT(desired.bindings(), IsEmpty());
  EXPECT_EQ(GetHost().status().state(), v1::HostStatus::STATE_FENCED);
  EXPECT_EQ(ReasonOf(TryCreateBinding(WantedBinding(BindingName("c"), 8))), "HOST_FENCED");
  back.Send(AnswerTo(desired));
  EXPECT_EQ(back.End().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(GetHost().status().state(), v1::HostStatus::STATE_FENCED) << "it has not shown it yet";

  TestAgent empty(server_);
  empty.Connect();
  EXPECT_EQ(GetHost().status().state(), v1::HostStatus::STATE_CONNECTED);
  empty.Send(AnswerTo(empty.ReadDesired()));
  Must(Wait("b"));
}

TEST_F(HostAdminServiceTest, ReleaseThatFailsKeepsTheFence) {
  auto agent = ConnectAndProgram();
  const v1::SyncRequest holding = HelloThatHolds();
  Must(Fence(true));
  EXPECT_EQ(ErrorReason(agent->End()), "SESSION_SUPERSEDED");
  TestAgent back(server_);
  back.Connect(holding);
  v1::SyncRequest answer = AnswerTo(back.ReadDesired());
  v1::VirtualMachineResult& result = *answer.mutable_results()->mutable_virtual_machines(0);
  result.set_absent(false);
  result.mutable_failure()->set_reason("KERNEL_BUSY");
  back.Send(answer);
  // The stream is still there: an invalid answer is what ends it.
  back.Send(TestHello());
  EXPECT_EQ(ErrorReason(back.End()), "PROTOCOL_ERROR");
  EXPECT_EQ(GetHost().status().state(), v1::HostStatus::STATE_FENCED);
}

TEST_F(HostAdminServiceTest, FenceOutlivesARestartOfTheServer) {
  auto agent = ConnectAndProgram();
  Must(Fence(true));
  agent.reset();
  server_.Restart();
  EXPECT_EQ(GetHost().status().fence().evidence(), "its power is off");
  EXPECT_EQ(Must(GetBinding("b")).status().failure().reason(), "HOST_FENCED");
}

TEST_F(HostAdminServiceTest, SameRequestIdGetsTheSameAnswer) {
  CreateHost();
  v1::FenceHostRequest request;
  request.set_name(kHost);
  request.set_evidence("its power is off");
  request.set_request_id("11111111-1111-4111-8111-111111111111");
  const int64_t epoch =
      Must(Call(server_.host_admin(), &HostAdmin::FenceHost, request)).status().fence().epoch();
  const int64_t head = server_.head();
  EXPECT_EQ(
      Must(Call(server_.host_admin(), &HostAdmin::FenceHost, request)).status().fence().epoch(),
      epoch);
  EXPECT_EQ(server_.head(), head);
}

TEST_F(HostAdminServiceTest, DryRunChangesNothing) {
  CreateHost();
  v1::FenceHostRequest request;
  request.set_name(kHost);
  request.set_evidence("its power is off");
  request.set_validate_only(true);
  EXPECT_EQ(Must(Call(server_.host_admin(), &HostAdmin::FenceHost, request)).status().state(),
            v1::HostStatus::STATE_FENCED);
  EXPECT_EQ(GetHost().status().state(), v1::HostStatus::STATE_NEVER_SEEN);
}

TEST_F(HostAdminServiceTest, DrainedHostTakesNothingNewAndCountsDown) {
  auto agent = ConnectAndProgram();
  v1::DrainHostRequest drain;
  drain.set_name(kHost);
  EXPECT_EQ(
      Must(Call(server_.host_admin(), &HostAdmin::DrainHost, drain)).status().drain().bindings(),
      1);
  EXPECT_EQ(ReasonOf(TryCreateBinding(WantedBinding(BindingName("c"), 8))), "HOST_DRAINING");
  DeleteBinding("b");
  agent->Send(AnswerTo(agent->ReadDesired()));
  Must(Wait("b", v1::WaitPasidBindingRequest::WANT_ABSENT));
  EXPECT_EQ(GetHost().status().drain().bindings(), 0);
  EXPECT_EQ(GetHost().status().drain().virtual_machines(), 1);
  v1::UndrainHostRequest undrain;
  undrain.set_name(kHost);
  Must(Call(server_.host_admin(), &HostAdmin::UndrainHost, undrain));
  CreateBinding("c", 8);
}

TEST_F(HostAdminServiceTest, ClientsServerDoesNotHaveIt) {
  v1::DrainHostRequest request;
  request.set_name(kHost);
  EXPECT_EQ(
      server_.CallRaw("nestor.v1.HostAdminService/DrainHost", request.SerializeAsString()).code(),
      absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace nestor::server
