// The service over a real unix socket, on an agent's parts in this process: simulated kernel,
// owners, reconciler.
#include "agent/local/local_service.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/local/local_server.h"
#include "agent/shim/inline_shim.h"
#include "agent/vfio/type1_backend.h"
#include "api/support/clock.h"
#include "api/support/errors.h"
#include "api/support/grpc_status.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Property;
using ::testing::SizeIs;

constexpr char kMachine[] = "projects/test/virtualMachines/vm";
constexpr char kOtherMachine[] = "projects/test/virtualMachines/other";
constexpr char kDevice[] = "0000:01:00.0";
constexpr char kOtherDevice[] = "0000:02:00.0";
constexpr uint64_t kMemorySize = 1 << 20;

// Remembers the owner behind each device; a monitor is played by calling it.
class FakeEndpoints final : public VmmEndpoints {
 public:
  absl::Status Open(const std::string&, const Bdf& device, std::shared_ptr<Shim> shim) override {
    shims[device] = std::move(shim);
    return absl::OkStatus();
  }
  void Close(const std::string&, const Bdf& device) override { shims.erase(device); }

  std::map<Bdf, std::shared_ptr<Shim>> shims;  // on the loop
  std::set<Bdf> Opened(const std::string&) override { return {}; }
};

class LocalServiceTest : public ::testing::Test {
 protected:
  void Start(bool standalone = true, bool simulated = true) {
    if (standalone) session_.emplace(reconciler_, "6f1b2c3d-0000-4000-8000-000000000001");
    service_.emplace(LocalServiceParts{.syscalls = syscalls_,
                                       .backend = backend_,
                                       .launcher = launcher_,
                                       .loop = loop_,
                                       .session = session_ ? &*session_ : nullptr,
                                       .simulated = simulated,
                                       .socket_of = [](const std::string&, const Bdf& device) {
                                         return "/run/" + device + ".sock";
                                       }});
    std::string pattern = ::testing::TempDir() + "nestor-local-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    auto server = LocalServer::Start(SocketPath(), *service_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::LocalAgentService::NewStub(
        grpc::CreateChannel("unix:" + SocketPath(), grpc::InsecureChannelCredentials()));
  }

  void TearDown() override {
    if (server_ != nullptr) server_->Stop();
    loop_.Stop();
    std::filesystem::remove_all(directory_);
  }

  std::string SocketPath() const { return directory_ + "/local.sock"; }

  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (v1::LocalAgentService::Stub::*method)(
                                    grpc::ClientContext*, const Request&, Response*),
                                const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(30)));
    context.set_wait_for_ready(true);
    Response response;
    const grpc::Status status = ((*stub_).*method)(&context, request, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    return response;
  }

  static v1::BindRequest BindOf(const std::string& machine, const std::string& device,
                                uint32_t pasid, uint64_t root = 0x1000) {
    v1::BindRequest request;
    request.set_virtual_machine(machine);
    request.set_device(device);
    request.set_pasid(pasid);
    request.mutable_page_table()->set_format(v1::PageTable::FORMAT_VTD_S1);
    request.mutable_page_table()->set_root(root);
    request.mutable_page_table()->set_address_width(48);
    return request;
  }

  absl::StatusOr<v1::BindResponse> Bind(const v1::BindRequest& request) {
    return Call(&v1::LocalAgentService::Stub::Bind, request);
  }

  // Plays the monitor of `device`: connects and hands over kMemorySize of memory.
  void ConnectMonitor(const Bdf& device) {
    const std::shared_ptr<Shim> shim = launcher_.Running().at(0);
    ASSERT_TRUE(shim->VmmConnected(device).ok());
    const int fd = memfd_create("guest", MFD_CLOEXEC);
    ASSERT_EQ(ftruncate(fd, kMemorySize), 0);
    const absl::Status mapped = shim->MapMemory(
        device, {.guest_address = 0, .size = kMemorySize, .fd = fd, .offset = 0, .writable = true});
    ASSERT_TRUE(mapped.ok()) << mapped;
  }

  v1::DumpResponse Dump() {
    const auto response = Call(&v1::LocalAgentService::Stub::Dump, v1::DumpRequest());
    EXPECT_TRUE(response.ok()) << response.status();
    return response.value_or(v1::DumpResponse());
  }

  SystemClock clock_;
  kernel::SimKernel kernel_{kernel::DefaultSimMachine(2)};
  std::unique_ptr<kernel::SimProcess> process_ = kernel_.CreateProcess();
  kernel::TracingSyscalls syscalls_{*process_};
  Type1Backend backend_{syscalls_};
  EventLoop loop_;
  InlineShimLauncher launcher_{backend_,
                               syscalls_,
                               clock_,
                               [this](const std::string&, ShimReport report) {
                                 loop_.Post([this, report = std::move(report)]() mutable {
                                   reconciler_.Collect(std::move(report));
                                   if (session_) session_->TakeResults();
                                 });
                               },
                               {}};
  FakeEndpoints endpoints_;
  HostReconciler reconciler_{
      {"hosts/local", "agent", "boot", "1"}, {}, launcher_, endpoints_, [this](auto function) {
        loop_.Post(std::move(function));
      }};
  std::optional<LocalSession> session_;
  std::optional<LocalService> service_;
  std::string directory_;
  std::unique_ptr<LocalServer> server_;
  std::unique_ptr<v1::LocalAgentService::Stub> stub_;
};

std::vector<std::string> FieldsOf(const absl::Status& status) {
  google::rpc::BadRequest bad_request;
  const google::rpc::Status typed = ToRpcStatus(status);
  for (const auto& detail : typed.details()) detail.UnpackTo(&bad_request);
  std::vector<std::string> fields;
  for (const auto& violation : bad_request.field_violations()) fields.push_back(violation.field());
  return fields;
}

TEST_F(LocalServiceTest, SocketIsForItsUserOnly) {
  Start();
  struct stat status = {};
  ASSERT_EQ(stat(SocketPath().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(LocalServiceTest, BindSaysWhatItWaitsForThenIsProgrammed) {
  Start();
  const auto waiting = Bind(BindOf(kMachine, kDevice, 7));
  ASSERT_TRUE(waiting.ok()) << waiting.status();
  EXPECT_EQ(waiting->result().outcome(), v1::Result::OUTCOME_ACCEPTED);
  EXPECT_EQ(waiting->result().failure().reason(), "WAITING_FOR_VMM");
  EXPECT_EQ(waiting->socket(), "/run/0000:01:00.0.sock");
  ConnectMonitor(kDevice);
  v1::BindRequest again = BindOf(kMachine, kDevice, 7);
  again.set_wait(true);
  const auto bound = Bind(again);
  ASSERT_TRUE(bound.ok()) << bound.status();
  EXPECT_EQ(bound->result().outcome(), v1::Result::OUTCOME_PROGRAMMED);
  ASSERT_THAT(kernel_.Bindings(), SizeIs(1));
  EXPECT_EQ(kernel_.Bindings()[0].stage1.root, 0x1000u);
}

TEST_F(LocalServiceTest, InvalidationReachesTheKernelOfWhatIsBoundOnly) {
  Start();
  ASSERT_TRUE(Bind(BindOf(kMachine, kDevice, 7)).ok());
  v1::InvalidateRequest request;
  request.set_device(kDevice);
  request.set_pasid(7);
  request.set_trace(true);
  const auto early = Call(&v1::LocalAgentService::Stub::Invalidate, request);
  EXPECT_EQ(ErrorReason(early.status()), "NOT_PROGRAMMED");
  ConnectMonitor(kDevice);
  v1::BindRequest again = BindOf(kMachine, kDevice, 7);
  again.set_wait(true);
  ASSERT_TRUE(Bind(again).ok());
  const auto done = Call(&v1::LocalAgentService::Stub::Invalidate, request);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_THAT(done->trace().DebugString(), HasSubstr("CACHE_INVLD"));

  request.mutable_range()->set_address(1);
  request.set_device("nonsense");
  EXPECT_THAT(FieldsOf(Call(&v1::LocalAgentService::Stub::Invalidate, request).status()),
              ElementsAre("device", "range.size"));
}

TEST_F(LocalServiceTest, TraceHasTheBindingCallsWithTheirBytes) {
  Start();
  ASSERT_TRUE(Bind(BindOf(kMachine, kDevice, 6)).ok());
  ConnectMonitor(kDevice);
  v1::BindRequest request = BindOf(kMachine, kDevice, 7, 0x3000);
  request.set_wait(true);
  request.set_trace(true);
  const auto bound = Bind(request);
  ASSERT_TRUE(bound.ok()) << bound.status();
  const auto& calls = bound->trace().calls();
  EXPECT_THAT(calls,
              Contains(Property(&v1::KernelCall::operation, "VFIO_IOMMU_PASID_REQUEST(ALLOC)")));
  bool found = false;
  for (const v1::KernelCall& call : calls) {
    if (call.operation() != "VFIO_IOMMU_NESTING_OP(BIND_PGTBL)") continue;
    found = found || call.argument().find(std::string("\0\x30\0\0", 4)) != std::string::npos;
  }
  EXPECT_TRUE(found) << bound->trace().DebugString();
}

TEST_F(LocalServiceTest, UnbindOfABindingLeavesTheMachine) {
  Start();
  ASSERT_TRUE(Bind(BindOf(kMachine, kDevice, 7)).ok());
  ConnectMonitor(kDevice);
  v1::BindRequest again = BindOf(kMachine, kDevice, 7);
  again.set_wait(true);
  ASSERT_TRUE(Bind(again).ok());
  v1::UnbindRequest unbind;
  unbind.set_virtual_machine(kMachine);
  unbind.set_device(kDevice);
  unbind.set_pasid(7);
  const auto gone = Call(&v1::LocalAgentService::Stub::Unbind, unbind);
  ASSERT_TRUE(gone.ok()) << gone.status();
  EXPECT_EQ(gone->result().outcome(), v1::Result::OUTCOME_ABSENT);
  EXPECT_THAT(kernel_.Bindings(), IsEmpty());
  EXPECT_THAT(Dump().machines(), SizeIs(1));
  EXPECT_EQ(ErrorReason(Call(&v1::LocalAgentService::Stub::Unbind, unbind).status()), "NOT_FOUND");
}

TEST_F(LocalServiceTest, UnbindOfAMachineLeavesNothing) {
  Start();
  ASSERT_TRUE(Bind(BindOf(kMachine, kDevice, 7)).ok());
  ASSERT_TRUE(Bind(BindOf(kMachine, kOtherDevice, 8)).ok());
  v1::UnbindRequest unbind;
  unbind.set_virtual_machine(kMachine);
  const auto gone = Call(&v1::LocalAgentService::Stub::Unbind, unbind);
  ASSERT_TRUE(gone.ok()) << gone.status();
  EXPECT_THAT(Dump().machines(), IsEmpty());
  EXPECT_EQ(kernel_.Statistics().descriptors, 0);
  EXPECT_TRUE(Bind(BindOf(kOtherMachine, kDevice, 7)).ok()) << "the device is free again";
}

TEST_F(LocalServiceTest, DeviceOfAnotherMachineIsRefused) {
  Start();
  ASSERT_TRUE(Bind(BindOf(kMachine, kDevice, 7)).ok());
  const auto refused = Bind(BindOf(kOtherMachine, kDevice, 8));
  EXPECT_EQ(ErrorReason(refused.status()), "DEVICE_IN_USE");
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr(kMachine));
}

TEST_F(LocalServiceTest, DeviceThatIsNotThereFails) {
  Start();
  const auto failed = Bind(BindOf(kMachine, "0000:99:00.0", 7));
  ASSERT_TRUE(failed.ok()) << failed.status();
  EXPECT_EQ(failed->result().outcome(), v1::Result::OUTCOME_FAILED);
  EXPECT_THAT(failed->result().failure().message(), HasSubstr("NO_DEVICE"));
}

TEST_F(LocalServiceTest, WaitingCallMakesRoomForTheNextOfItsBinding) {
  Start();
  ASSERT_TRUE(Bind(BindOf(kMachine, kDevice, 7)).ok());
  v1::BindRequest request = BindOf(kMachine, kDevice, 7);
  request.set_wait(true);
  absl::Status first;
  std::thread waiting([&] { first = Bind(request).status(); });
  // The next one may come before the first; then it is the one that is superseded.
  while (Dump().machines(0).bindings(0).generation() < 2) std::this_thread::yield();
  EXPECT_TRUE(Bind(BindOf(kMachine, kDevice, 7)).ok());
  waiting.join();
  EXPECT_EQ(ErrorReason(first), "CONTENTION");
}

TEST_F(LocalServiceTest, StopEndsCallsThatWait) {
  Start();
  ASSERT_TRUE(Bind(BindOf(kMachine, kDevice, 7)).ok());
  v1::BindRequest request = BindOf(kMachine, kDevice, 7);
  request.set_wait(true);
  absl::Status outcome;
  std::thread waiting([&] { outcome = Bind(request).status(); });
  while (Dump().machines(0).bindings(0).generation() < 2) std::this_thread::yield();
  server_->Stop();
  waiting.join();
  EXPECT_FALSE(outcome.ok());
}

TEST_F(LocalServiceTest, ServerDecidesWhereThereIsOne) {
  Start(/*standalone=*/false);
  const auto bind = Bind(BindOf(kMachine, kDevice, 7));
  EXPECT_TRUE(absl::IsFailedPrecondition(bind.status())) << bind.status();
  EXPECT_EQ(ErrorReason(bind.status()), "NOT_STANDALONE");
  EXPECT_THAT(std::string(bind.status().message()), HasSubstr("--standalone"));
  v1::UnbindRequest unbind;
  unbind.set_virtual_machine(kMachine);
  EXPECT_EQ(ErrorReason(Call(&v1::LocalAgentService::Stub::Unbind, unbind).status()),
            "NOT_STANDALONE");
  EXPECT_FALSE(Dump().standalone());
}

TEST_F(LocalServiceTest, DumpShowsWhatIsHeld) {
  Start();
  ASSERT_TRUE(Bind(BindOf(kMachine, kDevice, 7)).ok());
  ConnectMonitor(kDevice);
  v1::BindRequest again = BindOf(kMachine, kDevice, 7);
  again.set_wait(true);
  ASSERT_TRUE(Bind(again).ok());
  const v1::DumpResponse dump = Dump();
  EXPECT_TRUE(dump.standalone());
  EXPECT_TRUE(dump.simulated());
  ASSERT_THAT(dump.machines(), SizeIs(1));
  const v1::HeldState& machine = dump.machines(0);
  EXPECT_EQ(machine.virtual_machine().name(), kMachine);
  EXPECT_EQ(machine.fence().incarnation(), "6f1b2c3d-0000-4000-8000-000000000001");
  EXPECT_THAT(machine.pasids(), ElementsAre(7));
  EXPECT_THAT(machine.bindings(),
              ElementsAre(Property(&v1::Result::outcome, v1::Result::OUTCOME_PROGRAMMED)));
  ASSERT_THAT(machine.devices(), SizeIs(1));
  EXPECT_EQ(machine.devices(0).socket(), "/run/0000:01:00.0.sock");
  ASSERT_THAT(machine.devices(0).memory(), SizeIs(1));
  EXPECT_EQ(machine.devices(0).memory(0).size(), kMemorySize);
  ASSERT_THAT(machine.devices(0).tables(), SizeIs(1));
  EXPECT_EQ(machine.devices(0).tables(0).page_table().root(), 0x1000u);
}

TEST_F(LocalServiceTest, DmaTestReadsGuestMemoryOrFaults) {
  Start();
  ASSERT_TRUE(Bind(BindOf(kMachine, kDevice, 7)).ok());
  ConnectMonitor(kDevice);
  v1::DmaTestRequest request;
  request.set_device(kDevice);
  request.set_address(0x2000);
  request.set_size(16);
  const auto read = Call(&v1::LocalAgentService::Stub::DmaTest, request);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->data(), std::string(16, '\0'));
  EXPECT_FALSE(read->has_fault());
  request.set_address(kMemorySize);
  const auto fault = Call(&v1::LocalAgentService::Stub::DmaTest, request);
  ASSERT_TRUE(fault.ok()) << fault.status();
  EXPECT_EQ(fault->fault().address(), kMemorySize);
  EXPECT_THAT(fault->data(), IsEmpty());
  request.set_device(kOtherDevice);
  EXPECT_EQ(ErrorReason(Call(&v1::LocalAgentService::Stub::DmaTest, request).status()),
            "NOT_FOUND");
}

TEST_F(LocalServiceTest, DmaTestNeedsASimulatedKernel) {
  Start(/*standalone=*/true, /*simulated=*/false);
  v1::DmaTestRequest request;
  request.set_device(kDevice);
  request.set_size(1);
  EXPECT_EQ(ErrorReason(Call(&v1::LocalAgentService::Stub::DmaTest, request).status()),
            "NOT_SIMULATED");
}

TEST_F(LocalServiceTest, CheckIsThatOfTheAgentWithItsOwnDevicesAttached) {
  Start();
  ASSERT_TRUE(Bind(BindOf(kMachine, kDevice, 7)).ok());
  v1::CheckHostRequest request;
  request.set_trace(true);
  const auto response = Call(&v1::LocalAgentService::Stub::CheckHost, request);
  ASSERT_TRUE(response.ok()) << response.status();
  ASSERT_THAT(response->check().devices(), SizeIs(2));
  EXPECT_TRUE(response->check().devices(0).ready());
  EXPECT_THAT(response->trace().calls(),
              Contains(Property(&v1::KernelCall::operation, "VFIO_SET_IOMMU(6)")));
  request.add_devices("0000:99:00.0");
  EXPECT_EQ(ErrorReason(Call(&v1::LocalAgentService::Stub::CheckHost, request).status()),
            "NOT_FOUND");
}

TEST_F(LocalServiceTest, BadInputIsRefusedFieldByField) {
  Start();
  EXPECT_THAT(FieldsOf(Bind(v1::BindRequest()).status()),
              ElementsAre("virtual_machine", "device", "pasid", "page_table.format",
                          "page_table.address_width"));
  EXPECT_THAT(FieldsOf(Bind(BindOf(kMachine, kDevice, 1 << 20, 0x1001)).status()),
              ElementsAre("pasid", "page_table.root"));
  v1::UnbindRequest unbind;
  unbind.set_virtual_machine(kMachine);
  unbind.set_pasid(7);
  EXPECT_THAT(FieldsOf(Call(&v1::LocalAgentService::Stub::Unbind, unbind).status()),
              ElementsAre("device"));
  v1::DmaTestRequest dma_test;
  dma_test.set_device("../../x");
  dma_test.set_size(4097);
  EXPECT_THAT(FieldsOf(Call(&v1::LocalAgentService::Stub::DmaTest, dma_test).status()),
              ElementsAre("device", "size"));
  v1::CheckHostRequest check;
  check.add_devices(kDevice);
  check.add_devices("nvme0");
  EXPECT_THAT(FieldsOf(Call(&v1::LocalAgentService::Stub::CheckHost, check).status()),
              ElementsAre("devices[1]"));
}

TEST_F(LocalServiceTest, SocketThatCannotBeMadeIsAnError) {
  Start();
  EXPECT_TRUE(absl::IsFailedPrecondition(
      LocalServer::Start(directory_ + "/missing/local.sock", *service_).status()));
}

}  // namespace
}  // namespace nestor::agent
