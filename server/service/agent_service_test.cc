#include "server/service/agent_service.h"

#include <gmock/gmock.h>

#include <set>
#include <vector>

#include "server/service/service_fixture.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto kAbsent = v1::WaitPasidBindingRequest::WANT_ABSENT;

TEST_F(AgentServiceTest, HelloDeclaresTheHostAndIsWelcomed) {
  TestAgent agent(server_);
  const v1::Welcome welcome = agent.Connect();
  EXPECT_EQ(welcome.fence().epoch(), 1);
  EXPECT_EQ(welcome.fence().head_revision(), server_.head());
  EXPECT_THAT(welcome.fence().incarnation(), SizeIs(36));
  EXPECT_EQ(welcome.lease_ttl().seconds(), 40);
  const v1::Host host = GetHost();
  EXPECT_EQ(host.status().state(), v1::HostStatus::STATE_CONNECTED);
  EXPECT_EQ(host.status().boot_id(), kBootId);
  EXPECT_EQ(host.status().agent_version(), "1.2.3");
  EXPECT_EQ(Must(Renew(welcome.session_id())).lease_ttl().seconds(), 40);
}

TEST_F(AgentServiceTest, FirstMessageThatIsNoHelloIsAProtocolError) {
  for (const bool empty : {true, false}) {
    TestAgent agent(server_);
    v1::SyncRequest message;
    if (!empty) message.mutable_results();
    agent.Send(message);
    const absl::Status end = agent.End();
    EXPECT_EQ(end.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ErrorReason(end), "PROTOCOL_ERROR");
  }
  EXPECT_EQ(server_.head(), 0);
}

TEST_F(AgentServiceTest, AnswersThatCannotBeEndTheStream) {
  TestAgent agent(server_);
  agent.Connect();
  v1::SyncRequest message;
  message.mutable_results()->set_acked_seq(99);
  agent.Send(message);
  EXPECT_EQ(ErrorReason(agent.End()), "PROTOCOL_ERROR");
}

TEST_F(AgentServiceTest, BindingClimbsFromPersistedToProgrammed) {
  TestAgent agent(server_);
  agent.Connect();
  const v1::VirtualMachine machine = CreateMachine();
  v1::Desired desired = agent.ReadDesired();
  ASSERT_THAT(desired.virtual_machines(), SizeIs(1));
  EXPECT_EQ(desired.virtual_machines(0).uid(), machine.metadata().uid());
  EXPECT_THAT(desired.virtual_machines(0).devices(), ElementsAre(kDevice));
  agent.Send(AnswerTo(desired));

  const v1::PasidBinding binding = CreateBinding("b", 7);
  EXPECT_EQ(binding.status().state(), v1::PasidBindingStatus::STATE_PERSISTED);
  desired = agent.ReadDesired();
  EXPECT_EQ(desired.delivery_seq(), 2);
  EXPECT_EQ(desired.fence().head_revision(), binding.metadata().revision());
  ASSERT_THAT(desired.bindings(), SizeIs(1));
  EXPECT_EQ(desired.bindings(0).uid(), binding.metadata().uid());
  EXPECT_EQ(desired.bindings(0).vm_uid(), machine.metadata().uid());
  EXPECT_EQ(desired.bindings(0).pasid(), 7u);

  v1::SyncRequest waiting = AnswerTo(desired);
  v1::Result& result = *waiting.mutable_results()->mutable_bindings(0);
  result.set_outcome(v1::Result::OUTCOME_ACCEPTED);
  result.mutable_failure()->set_kind(v1::Failure::KIND_TRANSIENT);
  result.mutable_failure()->set_reason("WAITING_FOR_VMM");
  result.set_programmed_generation(0);
  result.set_programmed_root(0);
  agent.Send(waiting);
  ASSERT_TRUE(server_.Await([](const View& view) {
    return view.PasidBindingResource(BindingName("b")).status().state() ==
           v1::PasidBindingStatus::STATE_ACCEPTED;
  }));
  v1::ExplainPasidBindingRequest explain;
  explain.set_name(BindingName("b"));
  const auto explanation = Must(Call(server_.bindings(), &Bindings::ExplainPasidBinding, explain));
  EXPECT_EQ(explanation.first_unmet(), "PROGRAMMED");
  EXPECT_EQ(explanation.reason(), "WAITING_FOR_VMM");

  agent.Send(AnswerTo(desired));
  const v1::PasidBinding programmed = Must(Wait("b")).pasid_binding();
  EXPECT_EQ(programmed.status().state(), v1::PasidBindingStatus::STATE_PROGRAMMED);
  EXPECT_EQ(programmed.status().programmed_root(), 0x1000u);
  EXPECT_EQ(programmed.status().programmed_generation(), 1);
  EXPECT_EQ(programmed.status().vm_instance(), "boot-of-the-guest");
  EXPECT_TRUE(programmed.status().times().has_accepted());
  EXPECT_TRUE(programmed.status().times().has_programmed());
  EXPECT_FALSE(programmed.status().has_failure());
}

TEST_F(AgentServiceTest, WaitEndsOnAPermanentFailureOfTheGeneration) {
  TestAgent agent(server_);
  agent.Connect();
  CreateMachine();
  agent.Send(AnswerTo(agent.ReadDesired()));
  CreateBinding("b", 7);
  v1::SyncRequest answer = AnswerTo(agent.ReadDesired());
  v1::Result& result = *answer.mutable_results()->mutable_bindings(0);
  result.set_outcome(v1::Result::OUTCOME_FAILED);
  result.mutable_failure()->set_kind(v1::Failure::KIND_PERMANENT);
  result.mutable_failure()->set_reason("FORMAT_UNSUPPORTED");
  result.mutable_failure()->set_message("the IOMMU walks no such table");
  agent.Send(answer);
  const absl::Status failed = Wait("b").status();
  EXPECT_EQ(failed.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(failed.message()), HasSubstr("the IOMMU walks no such table"));
}

TEST_F(AgentServiceTest, DeletedPasidIsFreeOnlyWhenTheHostSaysAbsent) {
  auto agent = ConnectAndProgram();
  const v1::PasidBinding deleted = DeleteBinding("b");
  EXPECT_TRUE(deleted.metadata().has_delete_time());
  EXPECT_EQ(deleted.status().state(), v1::PasidBindingStatus::STATE_DELETING);
  const v1::Desired desired = agent->ReadDesired();
  ASSERT_THAT(desired.bindings(), SizeIs(1));
  EXPECT_TRUE(desired.bindings(0).absent());
  EXPECT_EQ(ErrorReason(TryCreateBinding(WantedBinding(BindingName("next"), 7)).status()),
            "PASID_IN_USE");
  EXPECT_EQ(ErrorReason(TryCreateBinding(WantedBinding(BindingName("b"), 8)).status()), "DELETING");
  EXPECT_EQ(ErrorReason(Wait("b", kAbsent, absl::Milliseconds(20)).status()), "WAIT_TIMEOUT");

  agent->Send(AnswerTo(desired));
  Must(Wait("b", kAbsent));
  EXPECT_EQ(ErrorReason(GetBinding("b").status()), "NOT_FOUND");
  CreateBinding("next", 7);
}

TEST_F(AgentServiceTest, MachineGoesAfterItsBindings) {
  auto agent = ConnectAndProgram();
  v1::DeleteVirtualMachineRequest request;
  request.set_name(kMachine);
  request.set_force(true);
  EXPECT_EQ(
      Must(Call(server_.machines(), &Machines::DeleteVirtualMachine, request)).status().state(),
      v1::VirtualMachineStatus::STATE_DELETING);
  v1::Desired desired = agent->ReadDesired();
  EXPECT_THAT(desired.bindings(), SizeIs(1));
  EXPECT_THAT(desired.virtual_machines(), IsEmpty());
  agent->Send(AnswerTo(desired));
  desired = agent->ReadDesired();
  ASSERT_THAT(desired.virtual_machines(), SizeIs(1));
  EXPECT_TRUE(desired.virtual_machines(0).absent());
  EXPECT_EQ(
      ErrorReason(
          TryCreateMachine(WantedMachine({kDevice}, "projects/p/virtualMachines/vm-2")).status()),
      "DEVICE_IN_USE");
  agent->Send(AnswerTo(desired));
  ASSERT_TRUE(
      server_.Await([](const View& view) { return view.FindVirtualMachine(kMachine) == nullptr; }));
  CreateMachine(WantedMachine({kDevice}, "projects/p/virtualMachines/vm-2"));
}

TEST_F(AgentServiceTest, AtMostSixtyFourObjectsAreOnTheirWay) {
  CreateHost();
  CreateMachine();
  v1::BatchCreatePasidBindingsRequest batch;
  for (int i = 1; i <= 100; ++i) {
    *batch.add_requests()->mutable_pasid_binding() =
        WantedBinding(BindingName(absl::StrCat("b", i)), i);
  }
  Must(Call(server_.bindings(), &Bindings::BatchCreatePasidBindings, batch));
  TestAgent agent(server_);
  agent.Connect();
  std::set<std::string> told;
  const v1::Desired first = agent.ReadDesired();
  EXPECT_EQ(first.virtual_machines_size() + first.bindings_size(), 64);
  for (const auto& binding : first.bindings()) told.insert(binding.uid());
  // Each answer makes room for one.
  v1::SyncRequest answer = AnswerTo(first);
  answer.mutable_results()->mutable_bindings()->DeleteSubrange(1, first.bindings_size() - 1);
  answer.mutable_results()->clear_virtual_machines();
  agent.Send(answer);
  const v1::Desired second = agent.ReadDesired();
  EXPECT_THAT(second.bindings(), SizeIs(1));
  for (const auto& binding : second.bindings()) told.insert(binding.uid());
  agent.Send(AnswerTo(second));
  const v1::Desired third = agent.ReadDesired();
  EXPECT_THAT(third.bindings(), SizeIs(1));
  for (const auto& binding : third.bindings()) told.insert(binding.uid());
  // The rest, none of them twice.
  agent.Send(AnswerTo(first));
  while (told.size() < 100) {
    const v1::Desired next = agent.ReadDesired();
    ASSERT_GT(next.bindings_size(), 0);
    for (const auto& binding : next.bindings()) EXPECT_TRUE(told.insert(binding.uid()).second);
    agent.Send(AnswerTo(next));
  }
}

TEST_F(AgentServiceTest, NewerSessionSupersedesTheOlder) {
  TestAgent older(server_);
  const v1::Welcome first = older.Connect();
  TestAgent newer(server_);
  const v1::Welcome second = newer.Connect();
  EXPECT_EQ(second.fence().epoch(), 2);
  const absl::Status end = older.End();
  EXPECT_EQ(end.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ErrorReason(end), "SESSION_SUPERSEDED");
  EXPECT_EQ(ErrorReason(Renew(first.session_id()).status()), "NOT_SESSION_OWNER");
  Must(Renew(second.session_id()));
  CreateMachine();
  EXPECT_THAT(newer.ReadDesired().virtual_machines(), SizeIs(1));
}

TEST_F(AgentServiceTest, SameHostNameFromAnotherMachineIsAConflictWhileTheFirstIsLive) {
  auto first = std::make_unique<TestAgent>(server_);
  first->Connect();
  {
    TestAgent second(server_);
    second.Send(TestHello(kOtherBootId));
    const absl::Status end = second.End();
    EXPECT_EQ(end.code(), absl::StatusCode::kAlreadyExists);
    EXPECT_EQ(ErrorReason(end), "AGENT_CONFLICT");
  }
  EXPECT_EQ(GetHost().status().boot_id(), kBootId);
  CreateMachine();
  EXPECT_THAT(first->ReadDesired().virtual_machines(), SizeIs(1));
}

TEST_F(AgentServiceTest, HostThatSawANewerStoreIsHeld) {
  CreateHost();
  const int64_t head = server_.head();
  std::string incarnation;
  {
    TestAgent agent(server_);
    incarnation = agent.Connect().fence().incarnation();
  }
  const std::vector<std::pair<std::string, int64_t>> seen = {{incarnation, 1'000'000},
                                                             {"another-store", 1}};
  const int64_t connected = server_.head();
  EXPECT_GT(connected, head);
  for (const auto& [store, revision] : seen) {
    TestAgent agent(server_);
    v1::SyncRequest hello = TestHello();
    hello.mutable_hello()->mutable_highest_seen()->set_incarnation(store);
    hello.mutable_hello()->mutable_highest_seen()->set_epoch(1);
    hello.mutable_hello()->mutable_highest_seen()->set_head_revision(revision);
    agent.Send(hello);
    const absl::Status end = agent.End();
    EXPECT_EQ(end.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(end.message()), HasSubstr("HOLD"));
  }
  EXPECT_EQ(server_.head(), connected);
}

TEST_F(AgentServiceTest, OrphansAreListedAndKept) {
  TestAgent agent(server_);
  v1::SyncRequest hello = TestHello();
  v1::Result& stray = *hello.mutable_hello()->add_held_bindings();
  stray.set_uid("stray");
  stray.set_generation(3);
  stray.set_outcome(v1::Result::OUTCOME_PROGRAMMED);
  stray.set_device(kDevice);
  stray.set_pasid(99);
  stray.set_programmed_root(0x5000);
  agent.Connect(hello);
  ASSERT_TRUE(server_.Await(
      [](const View& view) { return view.HostResource(kHostId).status().orphans_size() == 1; }));
  const v1::Orphan orphan = GetHost().status().orphans(0);
  EXPECT_EQ(orphan.uid(), "stray");
  EXPECT_EQ(orphan.device(), kDevice);
  EXPECT_EQ(orphan.pasid(), 99u);
  EXPECT_EQ(orphan.root(), 0x5000u);
  // The next message speaks of something else: the stray binding was not asked to go.
  CreateMachine();
  EXPECT_THAT(agent.ReadDesired().bindings(), IsEmpty());
}

TEST_F(AgentServiceTest, NewInventoryReplacesTheOld) {
  TestAgent agent(server_);
  agent.Connect();
  v1::SyncRequest message;
  AddTestDevice(kDevice, message.mutable_inventory());
  AddTestDevice("0000:77:00.0", message.mutable_inventory());
  agent.Send(message);
  ASSERT_TRUE(server_.Await([](const View& view) {
    return !view.DeviceResource(kHostId, "0000:77:00.0").name().empty();
  }));
  v1::ListDevicesRequest list;
  list.set_parent(kHost);
  const auto devices = Must(Call(server_.hosts(), &Hosts::ListDevices, list));
  std::vector<std::string> names;
  for (const auto& device : devices.devices()) names.push_back(device.name());
  EXPECT_THAT(names, ElementsAre(absl::StrCat(kHost, "/devices/", kDevice),
                                 absl::StrCat(kHost, "/devices/0000:77:00.0")));
}

TEST_F(AgentServiceTest, DrainSendsAgentsElsewhere) {
  TestAgent agent(server_);
  agent.Connect();
  server_.sessions().Drain();
  const absl::Status end = agent.End();
  EXPECT_EQ(end.code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace nestor::server
