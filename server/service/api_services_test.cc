#include "server/service/api_services.h"

#include <gmock/gmock.h>

#include <thread>
#include <vector>

#include "server/service/service_fixture.h"

namespace nestor::server {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kOtherMachine[] = "projects/p/virtualMachines/vm-2";

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

class ApiServicesTest : public ServiceTest {};

TEST_F(ApiServicesTest, EndFinishesParkedCallsAndRefusesNewOnes) {
  CreateHost();
  CreateMachine();
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
  const absl::Status plaintext = GrpcServer::Start({.address = "127.0.0.1:0"}).status();
  EXPECT_EQ(plaintext.code(), absl::StatusCode::kInvalidArgument);
  TemporaryDirectory directory;
  const std::string nowhere = "unix:" + directory.path() + "/no/such/directory";
  const absl::Status refused =
      GrpcServer::Start({.address = nowhere, .security = {.insecure = true}}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr(nowhere));
}

}  // namespace
}  // namespace nestor::server
