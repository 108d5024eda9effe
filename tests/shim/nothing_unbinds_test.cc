// Nothing unbinds: the agent is killed while a machine's owner is before and after each kind of
// step, by an agent of the same version and of a newer one, while guests do DMA all the time.
// Real processes: server, agent, owners, guests, on a simulated kernel that counts.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "tests/component/local_cluster.h"
#include "tests/shim/dma_load.h"

namespace nestor::testing {
namespace {

using ::testing::StartsWith;

constexpr char kHost[] = "h1";
constexpr char kDevice[] = "0000:01:00.0";        // of the machine whose owner is stopped
constexpr char kSteadyDevice[] = "0000:02:00.0";  // of one whose DMA goes on meanwhile
constexpr char kComingDevice[] = "0000:03:00.0";  // attached and detached
constexpr uint64_t kRoot = 0x100000;
constexpr uint64_t kOtherRoot = 0x200000;
constexpr uint32_t kPasid = 5;

// Whether the owner is let go before the agent starts again, or after.
enum class Release { kBeforeRestart, kAfterRestart };

class NothingUnbindsTest : public ::testing::TestWithParam<bool> {
 protected:
  NothingUnbindsTest() {
    std::filesystem::create_directories(hold_);
    setenv("NESTOR_TEST_HOLD", hold_.c_str(), 1);
    cluster_.SetAgentOptions(
        {"--shim", "fork", "--shim-program", cluster_.ProgramPath("nestor-shim-held")});
    cluster_.StartServer();
    cluster_.StartAgent(kHost, /*devices=*/3);
    v1::CreateHostRequest declare;
    declare.mutable_host()->set_name(absl::StrCat("hosts/", kHost));
    v1::Host host;
    // The agent may have been quicker.
    cluster_.hosts().CreateHost(CallContext(), declare, &host);
  }

  void CreateMachine(const std::string& vm, const std::string& device) {
    v1::CreateVirtualMachineRequest create;
    *create.mutable_virtual_machine() = TestMachine(vm, kHost, {device});
    v1::VirtualMachine machine;
    const grpc::Status status =
        cluster_.machines().CreateVirtualMachine(CallContext(), create, &machine);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  void DeleteMachine(const std::string& vm) {
    v1::DeleteVirtualMachineRequest request;
    request.set_name("projects/test/virtualMachines/" + vm);
    v1::VirtualMachine deleted;
    const grpc::Status status =
        cluster_.machines().DeleteVirtualMachine(CallContext(), request, &deleted);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  bool IsGone(const std::string& vm) {
    v1::GetVirtualMachineRequest request;
    request.set_name("projects/test/virtualMachines/" + vm);
    v1::VirtualMachine machine;
    return cluster_.machines().GetVirtualMachine(CallContext(), request, &machine).error_code() ==
           grpc::StatusCode::NOT_FOUND;
  }
  // Whether all its devices are attached, and no monitor is connected.
  bool IsWaitingForMonitor(const std::string& vm) {
    v1::GetVirtualMachineRequest request;
    request.set_name("projects/test/virtualMachines/" + vm);
    v1::VirtualMachine machine;
    cluster_.machines().GetVirtualMachine(CallContext(), request, &machine);
    return machine.status().conditions_size() == 1 &&
           machine.status().conditions(0).reason() == "WAITING_FOR_VMM";
  }
  // Its pages say "one" and "two".
  std::unique_ptr<Process> StartGuest(const std::string& vm, const std::string& device) {
    return std::make_unique<Process>(
        "nestor-guest",
        std::vector<std::string>{"--socket-dir", absl::StrCat(cluster_.directory(), "/h1/vmm"),
                                 "--vm", "projects/test/virtualMachines/" + vm, "--memory", "16MiB",
                                 "--device", device, "--root", absl::StrFormat("0x%x:one", kRoot),
                                 "--root", absl::StrFormat("0x%x:two", kOtherRoot)},
        cluster_.directory() + "/guest.log");
  }
  // A machine whose guest storms `pasid`; PASIDs are the host's with this kernel interface.
  std::unique_ptr<DmaLoad> StartLoad(const std::string& vm, const std::string& device,
                                     uint32_t pasid) {
    CreateMachine(vm, device);
    Create(TestBinding(vm, "steady", device, pasid, kRoot));
    guests_.push_back(StartGuest(vm, device));
    EXPECT_TRUE(guests_.back()->ReadLine(kPatience).ok());
    WaitFor(vm, "steady", v1::WaitPasidBindingRequest::WANT_PROGRAMMED);
    return std::make_unique<DmaLoad>(*guests_.back(), pasid, "one");
  }

  void Create(const v1::PasidBinding& binding) {
    v1::CreatePasidBindingRequest request;
    *request.mutable_pasid_binding() = binding;
    v1::PasidBinding created;
    const grpc::Status status =
        cluster_.bindings().CreatePasidBinding(CallContext(), request, &created);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  void WaitFor(const std::string& vm, const std::string& binding,
               v1::WaitPasidBindingRequest::Want want) {
    v1::WaitPasidBindingRequest request;
    request.set_name(
        absl::StrCat("projects/test/virtualMachines/", vm, "/pasidBindings/", binding));
    request.set_want(want);
    request.mutable_timeout()->set_seconds(20);
    v1::WaitPasidBindingResponse response;
    const grpc::Status status =
        cluster_.bindings().WaitPasidBinding(CallContext(), request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  int Count(const std::string& what) {
    return nlohmann::json::parse(cluster_.KernelStatus(kHost)).at(what).get<int>();
  }
  // Within kPatience.
  bool Comes(const std::function<bool()>& condition) {
    const absl::Time deadline = absl::Now() + kPatience;
    while (!condition()) {
      if (absl::Now() > deadline) return false;
      absl::SleepFor(absl::Milliseconds(5));
    }
    return true;
  }

  // Has the owner stop at `point` of what `change` asks for, kills the agent there, and starts
  // one again.
  void KillAt(const std::string& point, Release release, const std::function<void()>& change) {
    SCOPED_TRACE(point);
    const std::string order = hold_ + "/" + point;
    std::ofstream{order};
    change();
    ASSERT_TRUE(Comes([&] { return std::filesystem::exists(hold_ + "/held"); }));
    const auto let_go = [&] {
      std::filesystem::remove(hold_ + "/held");
      std::filesystem::remove(order);
    };
    cluster_.KillAgent(kHost);
    ++kills_;
    if (release == Release::kBeforeRestart) let_go();
    if (GetParam()) {
      cluster_.SetAgentOptions({"--shim", "fork", "--shim-program",
                                cluster_.ProgramPath("nestor-shim-held"), "--shim-protocol", "2"});
    }
    cluster_.StartAgent(kHost);
    if (release == Release::kAfterRestart) let_go();
  }
  // The same before and after `step`.
  void KillAround(const std::string& step, const std::function<void(int round)>& change,
                  const std::function<void(int round)>& converged) {
    KillAt(step + ".before", Release::kAfterRestart, [&] { change(1); });
    converged(1);
    KillAt(step + ".after", Release::kBeforeRestart, [&] { change(2); });
    converged(2);
  }

  void CreateBinding() { Create(TestBinding("vm", "b", kDevice, kPasid, kRoot)); }
  void ChangeRoot(uint64_t root) {
    v1::UpdatePasidBindingRequest request;
    *request.mutable_pasid_binding() = TestBinding("vm", "b", kDevice, kPasid, root);
    request.mutable_pasid_binding()->mutable_spec()->set_allow_translation_gap(true);
    v1::PasidBinding updated;
    const grpc::Status status =
        cluster_.bindings().UpdatePasidBinding(CallContext(), request, &updated);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  v1::PasidBinding Binding() {
    v1::GetPasidBindingRequest request;
    request.set_name("projects/test/virtualMachines/vm/pasidBindings/b");
    v1::PasidBinding binding;
    cluster_.bindings().GetPasidBinding(CallContext(), request, &binding);
    return binding;
  }
  void DeleteBinding() {
    v1::DeletePasidBindingRequest request;
    request.set_name("projects/test/virtualMachines/vm/pasidBindings/b");
    v1::PasidBinding deleting;
    const grpc::Status status =
        cluster_.bindings().DeletePasidBinding(CallContext(), request, &deleting);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  void ExpectBound(DmaLoad& load, const std::string& text) {
    WaitFor("vm", "b", v1::WaitPasidBindingRequest::WANT_PROGRAMMED);
    EXPECT_THAT(load.Ask(absl::StrCat("expect ", kPasid, " 0x7f0000000000 ", text)),
                StartsWith("ok"));
    EXPECT_EQ(Count("bindings"), 3);
    EXPECT_EQ(Count("pasids"), 3);
  }
  void ExpectUnbound() {
    WaitFor("vm", "b", v1::WaitPasidBindingRequest::WANT_ABSENT);
    EXPECT_EQ(Count("bindings"), 2);
    EXPECT_EQ(Count("pasids"), 2);
  }

  LocalCluster cluster_;
  const std::string hold_ = cluster_.directory() + "/hold";
  std::vector<std::unique_ptr<Process>> guests_;
  int kills_ = 0;
};

// What is lost when an owner dies: with its agent (true) or without.
class OwnerLossTest : public NothingUnbindsTest {};

INSTANTIATE_TEST_SUITE_P(, OwnerLossTest, ::testing::Bool(), [](const auto& with_agent) {
  return with_agent.param ? "WithItsAgent" : "WithoutItsAgent";
});

TEST_P(OwnerLossTest, IsReportedCleanedUpAndProgrammedAgainForTheNextGuest) {
  const auto load = StartLoad("vm", kDevice, 4);
  CreateBinding();
  WaitFor("vm", "b", v1::WaitPasidBindingRequest::WANT_PROGRAMMED);
  load->Stop();
  if (GetParam()) cluster_.KillAgent(kHost);
  cluster_.KillShims();
  if (GetParam()) cluster_.StartAgent(kHost);
  EXPECT_TRUE(Comes([&] {
    return Binding().status().failure().reason() == "VMM_RECONNECT_NEEDED";
  })) << Binding().status().ShortDebugString();
  EXPECT_EQ(Binding().status().state(), v1::PasidBindingStatus::STATE_FAILED);
  EXPECT_EQ(Count("bindings"), 0);
  EXPECT_EQ(Count("mappings"), 0);

  const auto guest = StartGuest("vm", kDevice);
  ASSERT_TRUE(guest->ReadLine(kPatience).ok());
  ChangeRoot(kOtherRoot);
  WaitFor("vm", "b", v1::WaitPasidBindingRequest::WANT_PROGRAMMED);
  EXPECT_THAT(*guest->Ask("expect 5 0x7f0000000000 two", kPatience), StartsWith("ok"));
}

INSTANTIATE_TEST_SUITE_P(, NothingUnbindsTest, ::testing::Bool(), [](const auto& newer) {
  return newer.param ? "AgentOfANewerVersion" : "AgentOfTheSameVersion";
});

TEST_P(NothingUnbindsTest, WhenTheAgentIsKilledAtAnyStep) {
  const auto load = StartLoad("vm", kDevice, 4);
  const auto steady = StartLoad("other", kSteadyDevice, 6);
  const int descriptors = Count("descriptors");

  const auto bind = [&](int) { CreateBinding(); };
  const auto unbind = [&](int) { DeleteBinding(); };
  const auto bound = [&](int) { ExpectBound(*load, "one"); };
  const auto unbound = [&](int) { ExpectUnbound(); };
  for (const std::string step : {"allocate", "bind"}) {
    KillAround(step, bind, [&](int round) {
      bound(round);
      DeleteBinding();
      ExpectUnbound();
    });
  }
  CreateBinding();
  ExpectBound(*load, "one");
  KillAround(
      "replace", [&](int round) { ChangeRoot(round == 1 ? kOtherRoot : kRoot); },
      [&](int round) { ExpectBound(*load, round == 1 ? "two" : "one"); });
  for (const std::string step : {"unbind", "free"}) {
    KillAround(step, unbind, [&](int round) {
      unbound(round);
      CreateBinding();
      ExpectBound(*load, "one");
    });
  }
  DeleteBinding();
  ExpectUnbound();

  const int containers = Count("containers");
  const int mappings = Count("mappings");
  std::unique_ptr<Process> guest;
  const auto create = [&](int) { CreateMachine("coming", kComingDevice); };
  const auto remove = [&](int) { DeleteMachine("coming"); };
  const auto start = [&](int) { guest = StartGuest("coming", kComingDevice); };
  const auto end = [&](int) { guest.reset(); };
  const auto attached = [&](int) {
    EXPECT_TRUE(Comes([&] { return Count("containers") == containers + 1; }));
  };
  const auto detached = [&](int) {
    EXPECT_TRUE(Comes([&] { return IsGone("coming"); }));
    EXPECT_EQ(Count("containers"), containers);
    EXPECT_TRUE(Comes([&] { return Count("descriptors") == descriptors; }));
  };
  const auto mapped = [&](int) { EXPECT_TRUE(guest->ReadLine(kPatience).ok()); };
  const auto unmapped = [&](int) {
    EXPECT_TRUE(Comes([&] { return Count("mappings") == mappings; }));
  };
  KillAround("attach", create, [&](int round) {
    attached(round);
    remove(round);
    detached(round);
  });
  KillAround(
      "detach",
      [&](int round) {
        create(round);
        EXPECT_TRUE(Comes([&] { return IsWaitingForMonitor("coming"); }));
        remove(round);
      },
      detached);
  create(0);
  EXPECT_TRUE(Comes([&] { return IsWaitingForMonitor("coming"); }));
  KillAround("map", start, [&](int round) {
    mapped(round);
    end(round);
    unmapped(round);
  });
  KillAround(
      "unmap",
      [&](int round) {
        start(round);
        mapped(round);
        end(round);
      },
      unmapped);
  remove(0);
  detached(0);

  load->Stop();
  steady->Stop();
  EXPECT_EQ(load->failures() + steady->failures(), 0);
  EXPECT_EQ(Count("faults"), 0);
  std::printf("nothing unbinds: %d kills, %d DMAs, %d faults\n", kills_, Count("dmas"),
              Count("faults"));
}

}  // namespace
}  // namespace nestor::testing
