#include "server/service/api_services.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "server/service/service_fixture.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr char kRequestId[] = "0b9a1b1e-4f0e-4d4c-8f6a-0c8b1f0a7d10";
constexpr char kOtherMachine[] = "projects/p/virtualMachines/vm-2";

template <typename Reply>
std::string ReasonOf(const absl::StatusOr<Reply>& reply) {
  return ErrorReason(reply.status());
}

class HostServiceTest : public ServiceTest {};

TEST_F(HostServiceTest, CreatedHostIsReadAndListed) {
  const v1::Host created = CreateHost();
  EXPECT_EQ(created.metadata().generation(), 1);
  EXPECT_EQ(created.metadata().revision(), server_.head());
  EXPECT_EQ(created.status().state(), v1::HostStatus::STATE_NEVER_SEEN);
  EXPECT_THAT(created.metadata().uid(), SizeIs(36));

  v1::GetHostRequest get;
  get.set_name(kHost);
  EXPECT_EQ(Must(Call(server_.hosts(), &Hosts::GetHost, get)).SerializeAsString(),
            created.SerializeAsString());
  CreateHost("hosts/h2");
  v1::ListHostsRequest list;
  list.set_page_size(1);
  v1::ListHostsResponse page = Must(Call(server_.hosts(), &Hosts::ListHosts, list));
  ASSERT_THAT(page.hosts(), SizeIs(1));
  EXPECT_EQ(page.hosts(0).name(), kHost);
  EXPECT_EQ(page.revision(), server_.head());
  list.set_page_token(page.next_page_token());
  page = Must(Call(server_.hosts(), &Hosts::ListHosts, list));
  ASSERT_THAT(page.hosts(), SizeIs(1));
  EXPECT_EQ(page.hosts(0).name(), "hosts/h2");
  EXPECT_THAT(page.next_page_token(), IsEmpty());
}

TEST_F(HostServiceTest, UpdateChangesWhatTheMaskNames) {
  CreateHost();
  v1::UpdateHostRequest update;
  update.mutable_host()->set_name(kHost);
  update.mutable_host()->mutable_spec()->set_cordoned(true);
  (*update.mutable_host()->mutable_metadata()->mutable_labels())["rack"] = "r1";
  update.mutable_update_mask()->add_paths("spec.cordoned");
  const v1::Host host = Must(Call(server_.hosts(), &Hosts::UpdateHost, update));
  EXPECT_TRUE(host.spec().cordoned());
  EXPECT_EQ(host.metadata().generation(), 2);
  EXPECT_THAT(host.metadata().labels(), IsEmpty());
  EXPECT_EQ(ReasonOf(TryCreateMachine(WantedMachine())), "HOST_CORDONED");
}

TEST_F(HostServiceTest, DeleteRemovesAnEmptyHost) {
  CreateHost();
  CreateMachine();
  v1::DeleteHostRequest request;
  request.set_name(kHost);
  EXPECT_EQ(ReasonOf(Call(server_.hosts(), &Hosts::DeleteHost, request)), "HAS_CHILDREN");
  v1::DeleteVirtualMachineRequest machine;
  machine.set_name(kMachine);
  Must(Call(server_.machines(), &Machines::DeleteVirtualMachine, machine));
  Must(Call(server_.hosts(), &Hosts::DeleteHost, request));
  EXPECT_EQ(ReasonOf(Call(server_.hosts(), &Hosts::DeleteHost, request)), "NOT_FOUND");
  request.set_allow_missing(true);
  Must(Call(server_.hosts(), &Hosts::DeleteHost, request));
}

TEST_F(HostServiceTest, DevicesAreThoseThatTheAgentFound) {
  TestAgent agent(server_);
  agent.Connect();
  v1::GetDeviceRequest get;
  get.set_name(absl::StrCat(kHost, "/devices/", kDevice));
  EXPECT_EQ(Must(Call(server_.hosts(), &Hosts::GetDevice, get)).status().pasid_bits(), 20u);
  v1::ListDevicesRequest list;
  list.set_parent("hosts/-");
  EXPECT_THAT(Must(Call(server_.hosts(), &Hosts::ListDevices, list)).devices(), SizeIs(2));
  get.set_name("hosts/h1/devices/0000:00:00.0");
  EXPECT_EQ(ReasonOf(Call(server_.hosts(), &Hosts::GetDevice, get)), "NOT_FOUND");
}

class VirtualMachineServiceTest : public ServiceTest {
 protected:
  void SetUp() override { CreateHost(); }

  static v1::ApplyVirtualMachineRequest WantedApply(const std::vector<std::string>& bindings) {
    v1::ApplyVirtualMachineRequest request;
    *request.mutable_virtual_machine() = WantedMachine();
    uint32_t pasid = 10;
    for (const std::string& id : bindings) {
      *request.add_pasid_bindings() = WantedBinding(BindingName(id), pasid++);
    }
    return request;
  }
  v1::ApplyVirtualMachineResponse Apply(const v1::ApplyVirtualMachineRequest& request) {
    return Must(Call(server_.machines(), &Machines::ApplyVirtualMachine, request));
  }
};

TEST_F(VirtualMachineServiceTest, CreatedMachineIsReadListedAndDeleted) {
  const v1::VirtualMachine created = CreateMachine();
  EXPECT_EQ(created.status().state(), v1::VirtualMachineStatus::STATE_PENDING);
  v1::GetVirtualMachineRequest get;
  get.set_name(kMachine);
  EXPECT_EQ(Must(Call(server_.machines(), &Machines::GetVirtualMachine, get)).SerializeAsString(),
            created.SerializeAsString());
  v1::ListVirtualMachinesRequest list;
  list.set_parent("projects/p");
  EXPECT_THAT(
      Must(Call(server_.machines(), &Machines::ListVirtualMachines, list)).virtual_machines(),
      SizeIs(1));
  v1::DeleteVirtualMachineRequest remove;
  remove.set_name(kMachine);
  Must(Call(server_.machines(), &Machines::DeleteVirtualMachine, remove));
  EXPECT_EQ(ReasonOf(Call(server_.machines(), &Machines::GetVirtualMachine, get)), "NOT_FOUND");
}

TEST_F(VirtualMachineServiceTest, UpdateMovesDevicesAndRefusesThoseInUse) {
  CreateMachine();
  CreateBinding("b", 7);
  v1::UpdateVirtualMachineRequest update;
  *update.mutable_virtual_machine() = WantedMachine({kDevice, kOtherDevice});
  EXPECT_EQ(Must(Call(server_.machines(), &Machines::UpdateVirtualMachine, update))
                .spec()
                .placement()
                .devices_size(),
            2);
  EXPECT_EQ(ReasonOf(TryCreateMachine(WantedMachine({kOtherDevice}, kOtherMachine))),
            "DEVICE_IN_USE");
  *update.mutable_virtual_machine() = WantedMachine({kOtherDevice});
  EXPECT_EQ(ReasonOf(Call(server_.machines(), &Machines::UpdateVirtualMachine, update)),
            "DEVICE_IN_USE");
}

TEST_F(VirtualMachineServiceTest, DeleteWithBindingsNeedsForce) {
  CreateMachine();
  CreateBinding("b", 7);
  v1::DeleteVirtualMachineRequest remove;
  remove.set_name(kMachine);
  EXPECT_EQ(ReasonOf(Call(server_.machines(), &Machines::DeleteVirtualMachine, remove)),
            "HAS_CHILDREN");
  remove.set_force(true);
  Must(Call(server_.machines(), &Machines::DeleteVirtualMachine, remove));
  EXPECT_EQ(ReasonOf(GetBinding("b")), "NOT_FOUND");
}

TEST_F(VirtualMachineServiceTest, ApplyTwiceIsUnchangedAtTheSameRevision) {
  const v1::ApplyVirtualMachineRequest request = WantedApply({"a", "b"});
  const v1::ApplyVirtualMachineResponse first = Apply(request);
  EXPECT_EQ(first.created(), 3);
  EXPECT_EQ(first.revision(), server_.head());
  EXPECT_EQ(first.pasid_bindings(1).metadata().revision(), first.revision());
  const v1::ApplyVirtualMachineResponse second = Apply(request);
  EXPECT_EQ(second.unchanged(), 3);
  EXPECT_EQ(second.created() + second.updated() + second.deleted(), 0);
  EXPECT_EQ(second.revision(), first.revision());
  EXPECT_EQ(server_.head(), first.revision());
}

TEST_F(VirtualMachineServiceTest, ApplyCreatesUpdatesAndDeletesInOneRevision) {
  const int64_t before = Apply(WantedApply({"a", "b"})).revision();
  v1::ApplyVirtualMachineRequest request = WantedApply({"a"});
  request.mutable_pasid_bindings(0)->mutable_spec()->mutable_page_table()->set_root(0x7000);
  *request.add_pasid_bindings() = WantedBinding(BindingName("c"), 30);
  const v1::ApplyVirtualMachineResponse response = Apply(request);
  EXPECT_EQ(response.created(), 1);
  EXPECT_EQ(response.updated(), 1);
  EXPECT_EQ(response.deleted(), 1);
  EXPECT_EQ(response.unchanged(), 1);
  EXPECT_EQ(response.revision(), before + 1);
  EXPECT_EQ(ReasonOf(GetBinding("b")), "NOT_FOUND");
  EXPECT_EQ(Must(GetBinding("a")).metadata().generation(), 2);
}

TEST_F(VirtualMachineServiceTest, ApplyThatFailsInOneBindingChangesNothing) {
  v1::ApplyVirtualMachineRequest request = WantedApply({"a", "b"});
  request.mutable_pasid_bindings(1)->mutable_spec()->set_pasid(10);  // that of the first
  const int64_t before = server_.head();
  EXPECT_EQ(ReasonOf(Call(server_.machines(), &Machines::ApplyVirtualMachine, request)),
            "PASID_IN_USE");
  EXPECT_EQ(server_.head(), before);
}

TEST_F(VirtualMachineServiceTest, ValidateOnlyCountsAndChangesNothing) {
  v1::ApplyVirtualMachineRequest request = WantedApply({"a"});
  request.set_validate_only(true);
  const int64_t before = server_.head();
  EXPECT_EQ(Apply(request).created(), 2);
  EXPECT_EQ(server_.head(), before);
  v1::GetVirtualMachineRequest get;
  get.set_name(kMachine);
  EXPECT_EQ(ReasonOf(Call(server_.machines(), &Machines::GetVirtualMachine, get)), "NOT_FOUND");
}

class PasidBindingServiceTest : public ServiceTest {
 protected:
  void SetUp() override {
    CreateHost();
    CreateMachine();
  }

  v1::UpdatePasidBindingRequest WantedUpdate(const std::string& id, uint64_t root) {
    v1::UpdatePasidBindingRequest request;
    v1::PasidBinding& binding = *request.mutable_pasid_binding();
    binding.set_name(BindingName(id));
    *binding.mutable_spec()->mutable_page_table() =
        WantedBinding(BindingName(id), 1).spec().page_table();
    binding.mutable_spec()->mutable_page_table()->set_root(root);
    return request;
  }
  absl::StatusOr<v1::PasidBinding> Update(const v1::UpdatePasidBindingRequest& request) {
    return Call(server_.bindings(), &Bindings::UpdatePasidBinding, request);
  }
};

TEST_F(PasidBindingServiceTest, CreatedBindingIsPersistedReadAndListed) {
  const v1::PasidBinding created = CreateBinding("b", 7);
  EXPECT_EQ(created.status().state(), v1::PasidBindingStatus::STATE_PERSISTED);
  EXPECT_EQ(created.status().effective_pasid(), 7u);
  EXPECT_EQ(created.status().times().persisted().seconds(),
            absl::ToUnixSeconds(server_.clock().Now()));
  EXPECT_EQ(created.metadata().revision(), server_.head());
  EXPECT_EQ(Must(GetBinding("b")).SerializeAsString(), created.SerializeAsString());
  v1::ListPasidBindingsRequest list;
  list.set_parent("projects/-/virtualMachines/-");
  list.set_filter("state=PERSISTED AND host=h1");
  EXPECT_THAT(Must(Call(server_.bindings(), &Bindings::ListPasidBindings, list)).pasid_bindings(),
              SizeIs(1));
  list.set_filter("state=PROGRAMMED");
  EXPECT_THAT(Must(Call(server_.bindings(), &Bindings::ListPasidBindings, list)).pasid_bindings(),
              IsEmpty());
}

TEST_F(PasidBindingServiceTest, ExplainSaysWhichRungIsMissingAndWhatToDo) {
  CreateBinding("b", 7);
  v1::ExplainPasidBindingRequest request;
  request.set_name(BindingName("b"));
  const auto explanation = Must(Call(server_.bindings(), &Bindings::ExplainPasidBinding, request));
  EXPECT_EQ(explanation.first_unmet(), "ACCEPTED");
  EXPECT_EQ(explanation.reason(), "HOST_NEVER_SEEN");
  EXPECT_THAT(explanation.next_step(), HasSubstr("nestor-agent"));
  request.set_name(BindingName("none"));
  EXPECT_EQ(ReasonOf(Call(server_.bindings(), &Bindings::ExplainPasidBinding, request)),
            "NOT_FOUND");
}

TEST_F(PasidBindingServiceTest, AnyOfPicksFreePasidsUntilTheRangeIsFull) {
  const auto pick = [this](const std::string& id) {
    return TryCreateBinding(WantedAnyOf(BindingName(id), 5, 6));
  };
  EXPECT_EQ(Must(pick("a")).status().effective_pasid(), 5u);
  EXPECT_EQ(Must(pick("b")).status().effective_pasid(), 6u);
  const auto refused = pick("c");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused), "PASID_SPACE_FULL");
}

TEST_F(PasidBindingServiceTest, RefusalsNameTheirReasonAndChangeNothing) {
  CreateBinding("b", 7);
  const int64_t before = server_.head();
  EXPECT_EQ(ReasonOf(TryCreateBinding(WantedBinding(BindingName("b"), 8))), "ALREADY_EXISTS");
  const auto in_use = TryCreateBinding(WantedBinding(BindingName("c"), 7));
  EXPECT_EQ(ReasonOf(in_use), "PASID_IN_USE");
  EXPECT_THAT(std::string(in_use.status().message()), HasSubstr(BindingName("b")));
  EXPECT_EQ(ReasonOf(TryCreateBinding(WantedBinding(BindingName("c"), 8, kOtherDevice))),
            "DEVICE_NOT_OWNED");
  EXPECT_EQ(ReasonOf(TryCreateBinding(
                WantedBinding("projects/p/virtualMachines/none/pasidBindings/b", 8))),
            "NOT_FOUND");
  EXPECT_EQ(ReasonOf(Update(WantedUpdate("none", 0x2000))), "NOT_FOUND");
  EXPECT_EQ(server_.head(), before);
}

TEST_F(PasidBindingServiceTest, EtagOfAnOlderStateIsRefused) {
  const v1::PasidBinding created = CreateBinding("b", 7);
  v1::UpdatePasidBindingRequest update = WantedUpdate("b", 0x2000);
  update.mutable_pasid_binding()->mutable_metadata()->set_etag(created.metadata().etag());
  const v1::PasidBinding updated = Must(Update(update));
  EXPECT_NE(updated.metadata().etag(), created.metadata().etag());
  const int64_t before = server_.head();
  const auto refused = Update(update);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(refused), "ETAG_MISMATCH");
  v1::DeletePasidBindingRequest remove;
  remove.set_name(BindingName("b"));
  remove.set_etag(created.metadata().etag());
  EXPECT_EQ(ReasonOf(Call(server_.bindings(), &Bindings::DeletePasidBinding, remove)),
            "ETAG_MISMATCH");
  EXPECT_EQ(server_.head(), before);
  remove.set_etag(updated.metadata().etag());
  Must(Call(server_.bindings(), &Bindings::DeletePasidBinding, remove));
}

TEST_F(PasidBindingServiceTest, OfTwoWritersWithOneEtagOneIsAborted) {
  const std::string etag = CreateBinding("b", 7).metadata().etag();
  const int64_t before = server_.head();
  absl::Status results[2];
  std::vector<std::thread> writers;
  for (int i = 0; i < 2; ++i) {
    writers.emplace_back([&, i] {
      v1::UpdatePasidBindingRequest update = WantedUpdate("b", 0x10000 * (i + 1));
      update.mutable_pasid_binding()->mutable_metadata()->set_etag(etag);
      results[i] = Update(update).status();
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_THAT((std::vector{results[0].code(), results[1].code()}),
              UnorderedElementsAre(absl::StatusCode::kOk, absl::StatusCode::kAborted));
  EXPECT_EQ(server_.head(), before + 1);
}

TEST_F(PasidBindingServiceTest, ManyWritersAtOnceGetPasidsOfTheirOwn) {
  constexpr int kWriters = 8;
  std::vector<uint32_t> pasids(kWriters);
  std::vector<std::thread> writers;
  for (int i = 0; i < kWriters; ++i) {
    writers.emplace_back([&, i] {
      const auto binding =
          TryCreateBinding(WantedAnyOf(BindingName(absl::StrCat("b", i)), 1, kWriters));
      if (binding.ok()) pasids[i] = binding->status().effective_pasid();
    });
  }
  for (std::thread& writer : writers) writer.join();
  std::sort(pasids.begin(), pasids.end());
  EXPECT_THAT(pasids, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
}

TEST_F(PasidBindingServiceTest, BatchIsAllOrNone) {
  v1::BatchCreatePasidBindingsRequest batch;
  for (int i = 1; i <= 3; ++i) {
    *batch.add_requests()->mutable_pasid_binding() =
        WantedBinding(BindingName(absl::StrCat("b", i)), i);
  }
  batch.mutable_requests(2)->mutable_pasid_binding()->mutable_spec()->set_pasid(1);
  const int64_t before = server_.head();
  const auto refused = Call(server_.bindings(), &Bindings::BatchCreatePasidBindings, batch);
  EXPECT_EQ(ReasonOf(refused), "PASID_IN_USE");
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("requests[2]"));
  EXPECT_EQ(server_.head(), before);

  batch.mutable_requests(2)->mutable_pasid_binding()->mutable_spec()->set_pasid(3);
  EXPECT_THAT(
      Must(Call(server_.bindings(), &Bindings::BatchCreatePasidBindings, batch)).pasid_bindings(),
      SizeIs(3));
  EXPECT_EQ(server_.head(), before + 1);

  v1::BatchDeletePasidBindingsRequest remove;
  remove.add_requests()->set_name(BindingName("b1"));
  remove.add_requests()->set_name(BindingName("none"));
  EXPECT_EQ(ReasonOf(Call(server_.bindings(), &Bindings::BatchDeletePasidBindings, remove)),
            "NOT_FOUND");
  EXPECT_EQ(server_.head(), before + 1);
  remove.mutable_requests(1)->set_allow_missing(true);
  EXPECT_THAT(
      Must(Call(server_.bindings(), &Bindings::BatchDeletePasidBindings, remove)).pasid_bindings(),
      SizeIs(1));
}

TEST_F(PasidBindingServiceTest, SameRequestIdGetsTheSameAnswerAndNoNewRevision) {
  v1::CreatePasidBindingRequest request;
  *request.mutable_pasid_binding() = WantedAnyOf(BindingName("b"), 1, 100);
  request.set_request_id(kRequestId);
  const auto create = [&] {
    return Must(Call(server_.bindings(), &Bindings::CreatePasidBinding, request));
  };
  const v1::PasidBinding first = create();
  const int64_t head = server_.head();
  EXPECT_EQ(create().SerializeAsString(), first.SerializeAsString());
  server_.Restart();
  EXPECT_EQ(create().SerializeAsString(), first.SerializeAsString());
  EXPECT_EQ(server_.head(), head);
}

TEST_F(PasidBindingServiceTest, RequestIdOfAnotherRequestIsRefusedForOneHour) {
  v1::CreatePasidBindingRequest request;
  *request.mutable_pasid_binding() = WantedBinding(BindingName("b"), 7);
  request.set_request_id(kRequestId);
  Must(Call(server_.bindings(), &Bindings::CreatePasidBinding, request));
  const int64_t head = server_.head();
  *request.mutable_pasid_binding() = WantedBinding(BindingName("c"), 8);
  const auto refused = Call(server_.bindings(), &Bindings::CreatePasidBinding, request);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(refused), "REQUEST_ID_REUSED");
  server_.clock().Advance(absl::Minutes(59));
  EXPECT_EQ(ReasonOf(Call(server_.bindings(), &Bindings::CreatePasidBinding, request)),
            "REQUEST_ID_REUSED");
  EXPECT_EQ(server_.head(), head);
  server_.clock().Advance(absl::Minutes(1));
  EXPECT_EQ(Must(Call(server_.bindings(), &Bindings::CreatePasidBinding, request)).name(),
            BindingName("c"));
}

TEST_F(PasidBindingServiceTest, RequestIdOfARefusedRequestIsStillFree) {
  v1::CreatePasidBindingRequest request;
  *request.mutable_pasid_binding() = WantedBinding(BindingName("b"), 7, kOtherDevice);
  request.set_request_id(kRequestId);
  EXPECT_EQ(ReasonOf(Call(server_.bindings(), &Bindings::CreatePasidBinding, request)),
            "DEVICE_NOT_OWNED");
  *request.mutable_pasid_binding() = WantedBinding(BindingName("b"), 7);
  Must(Call(server_.bindings(), &Bindings::CreatePasidBinding, request));
}

TEST_F(PasidBindingServiceTest, WaitTimesOutWithAnExplanation) {
  CreateBinding("b", 7);
  const auto timed_out =
      Wait("b", v1::WaitPasidBindingRequest::WANT_PROGRAMMED, absl::Milliseconds(20));
  EXPECT_EQ(timed_out.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(ReasonOf(timed_out), "WAIT_TIMEOUT");
  EXPECT_THAT(std::string(timed_out.status().message()), HasSubstr("HOST_NEVER_SEEN"));
}

TEST_F(PasidBindingServiceTest, WaitForWhatIsGoneAnswersAtOnce) {
  EXPECT_FALSE(Must(Wait("none", v1::WaitPasidBindingRequest::WANT_ABSENT)).has_pasid_binding());
  EXPECT_EQ(ReasonOf(Wait("none")), "NOT_FOUND");
}

TEST_F(PasidBindingServiceTest, EndFinishesParkedCallsAndRefusesNewOnes) {
  CreateBinding("b", 7);
  v1::WatchRequest request;
  request.add_kinds(v1::WatchRequest::KIND_PASID_BINDING);
  grpc::ClientContext watch_context;
  LimitCall(&watch_context);
  auto watch = server_.watch().Watch(&watch_context, request);
  v1::WatchResponse event;
  ASSERT_TRUE(watch->Read(&event));  // the snapshot: the watch is parked by now
  absl::Status waited;
  std::thread waiter([&] { waited = Wait("b").status(); });
  server_.api().End();
  waiter.join();
  while (watch->Read(&event)) {
  }
  for (const absl::Status& status : {waited, FromGrpcStatus(watch->Finish())}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(ErrorReason(status), "UNAVAILABLE");
  }
  EXPECT_EQ(ReasonOf(Wait("b")), "UNAVAILABLE");
  Must(GetBinding("b"));
}

TEST(GrpcServer, AddressThatCannotBeListenedOnIsRefused) {
  const absl::Status plaintext = GrpcServer::Start({"127.0.0.1:0", false, {}}).status();
  EXPECT_EQ(plaintext.code(), absl::StatusCode::kInvalidArgument);
  TemporaryDirectory directory;
  const std::string nowhere = "unix:" + directory.path() + "/no/such/directory";
  const absl::Status refused = GrpcServer::Start({nowhere, true, {}}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr(nowhere));
}

}  // namespace
}  // namespace nestor::server
