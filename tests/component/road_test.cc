// The road of one request: an API call becomes a programmed binding, proved by DMA. Real
// processes: server, agents on simulated kernels, guests.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/component/local_cluster.h"

namespace nestor::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kDevice[] = "0000:01:00.0";
constexpr char kOtherDevice[] = "0000:02:00.0";
constexpr char kGva[] = "0x7f0000000000";
constexpr uint64_t kRoot = 0x100000;
constexpr uint64_t kOtherRoot = 0x200000;

class RoadTest : public ::testing::Test {
 protected:
  void StartHostWithMachine(const std::vector<std::string>& devices = {kDevice},
                            const std::string& personality = "series") {
    cluster_.StartServer();
    cluster_.StartAgent("h1", /*devices=*/2, personality);
    v1::Host host;
    host.set_name("hosts/h1");
    v1::CreateHostRequest declare;
    *declare.mutable_host() = host;
    // The agent may have been quicker.
    cluster_.hosts().CreateHost(CallContext(), declare, &host);
    v1::CreateVirtualMachineRequest create;
    *create.mutable_virtual_machine() = TestMachine("vm", "h1", devices);
    v1::VirtualMachine machine;
    const grpc::Status status =
        cluster_.machines().CreateVirtualMachine(CallContext(), create, &machine);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  void Create(const v1::PasidBinding& binding) {
    v1::CreatePasidBindingRequest request;
    *request.mutable_pasid_binding() = binding;
    v1::PasidBinding created;
    const grpc::Status status =
        cluster_.bindings().CreatePasidBinding(CallContext(), request, &created);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  grpc::Status Wait(const std::string& name, v1::WaitPasidBindingRequest::Want want,
                    v1::WaitPasidBindingResponse* response) {
    v1::WaitPasidBindingRequest request;
    request.set_name(name);
    request.set_want(want);
    request.mutable_timeout()->set_seconds(20);
    return cluster_.bindings().WaitPasidBinding(CallContext(), request, response);
  }

  v1::PasidBinding WaitProgrammed(const std::string& name) {
    v1::WaitPasidBindingResponse response;
    const grpc::Status status = Wait(name, v1::WaitPasidBindingRequest::WANT_PROGRAMMED, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.pasid_binding();
  }

  std::string Dma(Process& guest, uint32_t pasid) {
    return guest.Ask(absl::StrFormat("dma-read %d %s 64", pasid, kGva), kPatience)
        .value_or("no answer");
  }

  static std::string PageOf(uint64_t root) { return absl::StrFormat("ok page of root 0x%x", root); }

  LocalCluster cluster_;
};

TEST_F(RoadTest, BindingIsProgrammedAndDmaReadsWhereTheGuestsTableSays) {
  StartHostWithMachine();
  const auto binding = TestBinding("vm", "b", kDevice, 5, kRoot);
  Create(binding);
  Process& guest = cluster_.StartGuest("h1", "vm", {kDevice}, {kRoot, kOtherRoot});
  const v1::PasidBinding programmed = WaitProgrammed(binding.name());
  EXPECT_EQ(programmed.status().state(), v1::PasidBindingStatus::STATE_PROGRAMMED);
  EXPECT_EQ(programmed.status().effective_pasid(), 5u);
  EXPECT_EQ(programmed.status().programmed_root(), kRoot);
  EXPECT_TRUE(programmed.status().times().has_persisted());
  EXPECT_TRUE(programmed.status().times().has_programmed());
  EXPECT_THAT(Dma(guest, 5), StartsWith(PageOf(kRoot)));
  EXPECT_THAT(Dma(guest, 6), StartsWith("fault"));
}

TEST_F(RoadTest, RootChangeIsSeenByTheNextDma) {
  StartHostWithMachine();
  auto binding = TestBinding("vm", "b", kDevice, 5, kRoot);
  binding.mutable_spec()->set_allow_translation_gap(true);
  Create(binding);
  Process& guest = cluster_.StartGuest("h1", "vm", {kDevice}, {kRoot, kOtherRoot});
  WaitProgrammed(binding.name());
  ASSERT_THAT(Dma(guest, 5), StartsWith(PageOf(kRoot)));

  v1::UpdatePasidBindingRequest update;
  *update.mutable_pasid_binding() = binding;
  update.mutable_pasid_binding()->mutable_spec()->mutable_page_table()->set_root(kOtherRoot);
  v1::PasidBinding updated;
  ASSERT_TRUE(cluster_.bindings().UpdatePasidBinding(CallContext(), update, &updated).ok());
  EXPECT_EQ(updated.metadata().generation(), 2);
  const v1::PasidBinding programmed = WaitProgrammed(binding.name());
  EXPECT_EQ(programmed.status().programmed_generation(), 2);
  EXPECT_TRUE(programmed.status().has_last_translation_gap());
  EXPECT_THAT(Dma(guest, 5), StartsWith(PageOf(kOtherRoot)));
}

TEST_F(RoadTest, ChangedEntryIsSeenAfterItsCachedTranslationIsInvalidated) {
  StartHostWithMachine();
  const auto binding = TestBinding("vm", "b", kDevice, 5, kRoot);
  Create(binding);
  Process& guest = cluster_.StartGuest("h1", "vm", {kDevice}, {kRoot});
  WaitProgrammed(binding.name());
  ASSERT_THAT(Dma(guest, 5), StartsWith(PageOf(kRoot)));
  ASSERT_EQ(guest.Ask(absl::StrFormat("remap 0x%x %s changed", kRoot, kGva), kPatience).value(),
            "ok");
  EXPECT_THAT(Dma(guest, 5), StartsWith(PageOf(kRoot))) << "the device has it cached";

  v1::InvalidateCacheRequest request;
  request.set_name(binding.name());
  request.mutable_range()->set_address(0x7f00'0000'0000);
  request.mutable_range()->set_size(4096);
  v1::InvalidateCacheResponse response;
  const grpc::Status status =
      cluster_.bindings().InvalidateCache(CallContext(), request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_THAT(Dma(guest, 5), StartsWith("ok changed"));

  ASSERT_EQ(guest.Ask(absl::StrFormat("remap 0x%x %s again", kRoot, kGva), kPatience).value(),
            "ok");
  std::string output;
  EXPECT_EQ(cluster_.Ctl({"invalidate", "--project", "test", "vm/b"}, &output), 0);
  EXPECT_EQ(output, "binding test/vm/b: dropped all\n");
  EXPECT_THAT(Dma(guest, 5), StartsWith("ok again"));
}

TEST_F(RoadTest, InvalidationOfWhatIsNotProgrammedIsRefused) {
  StartHostWithMachine();
  const auto binding = TestBinding("vm", "b", kDevice, 5, kRoot);
  Create(binding);
  // Before the agent is there, its host is out of reach.
  std::string output;
  int exit_code = 5;
  while (exit_code == 5) {
    exit_code = cluster_.Ctl({"invalidate", "--project", "test", "vm/b"}, &output);
  }
  EXPECT_EQ(exit_code, 1);
}

TEST_F(RoadTest, RootChangeWithoutPermissionKeepsTheOldRoot) {
  StartHostWithMachine();
  const auto binding = TestBinding("vm", "b", kDevice, 5, kRoot);
  Create(binding);
  Process& guest = cluster_.StartGuest("h1", "vm", {kDevice}, {kRoot, kOtherRoot});
  WaitProgrammed(binding.name());

  v1::UpdatePasidBindingRequest update;
  *update.mutable_pasid_binding() = binding;
  update.mutable_pasid_binding()->mutable_spec()->mutable_page_table()->set_root(kOtherRoot);
  v1::PasidBinding updated;
  ASSERT_TRUE(cluster_.bindings().UpdatePasidBinding(CallContext(), update, &updated).ok());
  v1::WaitPasidBindingResponse response;
  const grpc::Status status =
      Wait(binding.name(), v1::WaitPasidBindingRequest::WANT_PROGRAMMED, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(Dma(guest, 5), StartsWith(PageOf(kRoot)));
}

// By iommufd, which the agent finds out by itself.
TEST_F(RoadTest, CurrentKernelBindsAndChangesRootsWithoutPermissionForAGap) {
  StartHostWithMachine({kDevice}, "7.2");
  const auto binding = TestBinding("vm", "b", kDevice, 5, kRoot);
  Create(binding);
  Process& guest = cluster_.StartGuest("h1", "vm", {kDevice}, {kRoot, kOtherRoot});
  WaitProgrammed(binding.name());
  EXPECT_THAT(Dma(guest, 5), StartsWith(PageOf(kRoot)));

  v1::UpdatePasidBindingRequest update;
  *update.mutable_pasid_binding() = binding;
  update.mutable_pasid_binding()->mutable_spec()->mutable_page_table()->set_root(kOtherRoot);
  v1::PasidBinding updated;
  ASSERT_TRUE(cluster_.bindings().UpdatePasidBinding(CallContext(), update, &updated).ok());
  const v1::PasidBinding programmed = WaitProgrammed(binding.name());
  EXPECT_EQ(programmed.status().programmed_root(), kOtherRoot);
  EXPECT_FALSE(programmed.status().has_last_translation_gap());
  EXPECT_THAT(Dma(guest, 5), StartsWith(PageOf(kOtherRoot)));
}

TEST_F(RoadTest, DeletedBindingFaultsAndItsPasidIsFreeAfterAbsent) {
  StartHostWithMachine();
  const auto binding = TestBinding("vm", "b", kDevice, 5, kRoot);
  Create(binding);
  Process& guest = cluster_.StartGuest("h1", "vm", {kDevice}, {kRoot, kOtherRoot});
  WaitProgrammed(binding.name());
  v1::DeletePasidBindingRequest remove;
  remove.set_name(binding.name());
  v1::PasidBinding deleting;
  ASSERT_TRUE(cluster_.bindings().DeletePasidBinding(CallContext(), remove, &deleting).ok());
  v1::WaitPasidBindingResponse response;
  ASSERT_TRUE(Wait(binding.name(), v1::WaitPasidBindingRequest::WANT_ABSENT, &response).ok());
  EXPECT_THAT(Dma(guest, 5), StartsWith("fault"));
  const auto again = TestBinding("vm", "again", kDevice, 5, kOtherRoot);
  Create(again);
  WaitProgrammed(again.name());
  EXPECT_THAT(Dma(guest, 5), StartsWith(PageOf(kOtherRoot)));
}

TEST_F(RoadTest, OnePasidOnTwoDevicesWalksTwoRoots) {
  StartHostWithMachine({kDevice, kOtherDevice});
  const auto first = TestBinding("vm", "first", kDevice, 7, kRoot);
  const auto second = TestBinding("vm", "second", kOtherDevice, 7, kOtherRoot);
  Create(first);
  Create(second);
  Process& guest = cluster_.StartGuest("h1", "vm", {kDevice, kOtherDevice}, {kRoot, kOtherRoot});
  WaitProgrammed(first.name());
  WaitProgrammed(second.name());
  EXPECT_THAT(*guest.Ask(absl::StrCat("dma-read 7 ", kGva, " 64 ", kDevice), kPatience),
              StartsWith(PageOf(kRoot)));
  EXPECT_THAT(*guest.Ask(absl::StrCat("dma-read 7 ", kGva, " 64 ", kOtherDevice), kPatience),
              StartsWith(PageOf(kOtherRoot)));
}

TEST_F(RoadTest, ServerDeathDisturbsNoDmaAndItsRestartConverges) {
  StartHostWithMachine();
  const auto binding = TestBinding("vm", "b", kDevice, 5, kRoot);
  Create(binding);
  Process& guest = cluster_.StartGuest("h1", "vm", {kDevice}, {kRoot, kOtherRoot});
  WaitProgrammed(binding.name());
  cluster_.KillServer();
  EXPECT_THAT(Dma(guest, 5), StartsWith(PageOf(kRoot)));
  cluster_.StartServer();
  EXPECT_EQ(WaitProgrammed(binding.name()).metadata().generation(), 1);
  const auto second = TestBinding("vm", "second", kDevice, 6, kOtherRoot);
  Create(second);
  WaitProgrammed(second.name());
  EXPECT_THAT(Dma(guest, 6), StartsWith(PageOf(kOtherRoot)));
  EXPECT_THAT(Dma(guest, 5), StartsWith(PageOf(kRoot)));
}

TEST_F(RoadTest, MonitorDeathEndsTheInstanceAndItsBindings) {
  StartHostWithMachine();
  const auto binding = TestBinding("vm", "b", kDevice, 5, kRoot);
  Create(binding);
  cluster_.StartGuest("h1", "vm", {kDevice}, {kRoot});
  const std::string instance = WaitProgrammed(binding.name()).status().vm_instance();
  EXPECT_FALSE(instance.empty());
  cluster_.KillGuest("vm");
  v1::WatchRequest request;
  request.add_kinds(v1::WatchRequest::KIND_PASID_BINDING);
  CallContext context;
  auto stream = cluster_.watch().Watch(context, request);
  v1::WatchResponse event;
  bool gone = false;
  while (!gone && stream->Read(&event)) {
    gone = event.pasid_binding().status().state() == v1::PasidBindingStatus::STATE_NOT_PROGRAMMED;
  }
  EXPECT_TRUE(gone);
  EXPECT_EQ(event.pasid_binding().status().failure().reason(), "VM_INSTANCE_GONE");
}

TEST_F(RoadTest, AgentDeathLeavesNothingInTheKernel) {
  StartHostWithMachine();
  const auto binding = TestBinding("vm", "b", kDevice, 5, kRoot);
  Create(binding);
  cluster_.StartGuest("h1", "vm", {kDevice}, {kRoot});
  WaitProgrammed(binding.name());
  EXPECT_THAT(cluster_.KernelStatus("h1"), HasSubstr("\"bindings\": 1,"));
  cluster_.KillAgent("h1");
  EXPECT_THAT(cluster_.KernelStatus("h1"),
              StartsWith("{\"descriptors\": 0, \"containers\": 0, \"groups\": 0, "
                         "\"pasid_sets\": 0, \"pasids\": 0, \"bindings\": 0, \"mappings\": 0, "));
}

TEST_F(RoadTest, BindingThatCannotWorkExplainsItself) {
  StartHostWithMachine();
  auto binding = TestBinding("vm", "b", kDevice, 5, kRoot);
  binding.mutable_spec()->mutable_rid();
  Create(binding);
  cluster_.StartGuest("h1", "vm", {kDevice}, {kRoot});
  v1::WaitPasidBindingResponse response;
  const grpc::Status status =
      Wait(binding.name(), v1::WaitPasidBindingRequest::WANT_PROGRAMMED, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  v1::ExplainPasidBindingRequest request;
  request.set_name(binding.name());
  v1::ExplainPasidBindingResponse explained;
  ASSERT_TRUE(cluster_.bindings().ExplainPasidBinding(CallContext(), request, &explained).ok());
  EXPECT_EQ(explained.first_unmet(), "PROGRAMMED");
  EXPECT_EQ(explained.reason(), "UNSUPPORTED");
  EXPECT_FALSE(explained.next_step().empty());
}

}  // namespace
}  // namespace nestor::testing
