#include "tests/bench/nestor_under_test.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <fstream>
#include <iterator>
#include <mutex>
#include <sstream>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "api/support/grpc_address.h"
#include "api/support/grpc_status.h"
#include "api/support/status_macros.h"
#include "nestor/v1/agent_service.grpc.pb.h"
#include "nestor/v1/host_service.grpc.pb.h"
#include "nestor/v1/watch_service.grpc.pb.h"
#include "tests/bench/floors.h"

namespace nestor::bench {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(120);
// Calls in flight are spread over so many connections.
constexpr int kMaxChannels = 4;
constexpr int kBatch = 1000;
constexpr char kLadderMachine[] = "projects/bench/virtualMachines/ladder";
constexpr char kLoadMachine[] = "projects/bench/virtualMachines/load";
// The simulated kernel's first device.
constexpr char kLadderDevice[] = "0000:01:00.0";

std::shared_ptr<grpc::Channel> Connect(const std::string& address, int number) {
  grpc::ChannelArguments arguments = ClientChannelArguments();
  // Channels with equal arguments share a connection.
  arguments.SetInt("nestor.bench.channel", number);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

// A context that waits for a server which is starting.
class Context {
 public:
  Context() {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    context_.set_wait_for_ready(true);
  }
  operator grpc::ClientContext*() { return &context_; }  // NOLINT: reads like the argument it is

 private:
  grpc::ClientContext context_;
};

struct CreateCall {
  grpc::ClientContext context;
  v1::CreatePasidBindingRequest request;
  v1::PasidBinding response;
};

void StartCreate(v1::PasidBindingService::Stub& stub, v1::CreatePasidBindingRequest request,
                 std::function<void(bool)> done) {
  auto call = std::make_shared<CreateCall>();
  call->request = std::move(request);
  call->context.set_wait_for_ready(true);
  stub.async()->CreatePasidBinding(
      &call->context, &call->request, &call->response,
      [call, done = std::move(done)](const grpc::Status& status) { done(status.ok()); });
}

v1::VirtualMachine Machine(const std::string& name, const std::string& host,
                           const std::string& device) {
  v1::VirtualMachine machine;
  machine.set_name(name);
  machine.mutable_spec()->mutable_placement()->set_host(host);
  machine.mutable_spec()->mutable_placement()->add_devices(device);
  return machine;
}

// Creates bindings of one machine at a steady rate, until it is destroyed.
class SteadyLoad {
 public:
  SteadyLoad(const std::string& address, double rate)
      : stub_(v1::PasidBindingService::NewStub(Connect(address, kMaxChannels))),
        thread_([this, rate] { Run(rate); }) {}
  ~SteadyLoad() {
    stop_ = true;
    thread_.join();
    while (running_ > 0) absl::SleepFor(absl::Milliseconds(1));
  }

 private:
  void Run(double rate) {
    // Numbers of this process never repeat, so neither do names.
    static std::atomic<int64_t> number = 0;
    for (absl::Time next = absl::Now(); !stop_; next += absl::Seconds(1 / rate)) {
      absl::SleepFor(next - absl::Now());
      v1::CreatePasidBindingRequest request = CreateRequest(number++, 1);
      request.mutable_pasid_binding()->set_name(
          absl::StrCat(kLoadMachine, "/pasidBindings/b-", number.load()));
      ++running_;
      StartCreate(*stub_, std::move(request), [this](bool) { --running_; });
    }
  }

  std::unique_ptr<v1::PasidBindingService::Stub> stub_;
  std::atomic<bool> stop_ = false;
  std::atomic<int> running_ = 0;
  std::thread thread_;
};

// With its host.
absl::Status CreateMachine(const std::string& address, const v1::VirtualMachine& machine) {
  const auto channel = Connect(address, 0);
  v1::CreateHostRequest host;
  host.mutable_host()->set_name(machine.spec().placement().host());
  v1::Host created_host;
  absl::Status status =
      FromGrpcStatus(v1::HostService::NewStub(channel)->CreateHost(Context(), host, &created_host));
  // Its agent may have been quicker.
  if (!status.ok() && !absl::IsAlreadyExists(status)) return status;
  v1::CreateVirtualMachineRequest request;
  *request.mutable_virtual_machine() = machine;
  v1::VirtualMachine created;
  return FromGrpcStatus(v1::VirtualMachineService::NewStub(channel)->CreateVirtualMachine(
      Context(), request, &created));
}

}  // namespace

absl::Status CreateMachines(const std::string& address, int count) {
  for (int i = 0; i < count; ++i) {
    RETURN_IF_ERROR(CreateMachine(
        address, Machine(MachineName(i), absl::StrFormat("hosts/h-%05d", i), kDevice)));
  }
  return absl::OkStatus();
}

LoopResult MeasureCreates(const std::string& address, int in_flight, absl::Duration duration,
                          int machines, std::atomic<int64_t>* next) {
  const int channels = std::min(in_flight, kMaxChannels);
  std::vector<std::unique_ptr<v1::PasidBindingService::Stub>> stubs;
  stubs.reserve(channels);
  for (int i = 0; i < channels; ++i) {
    stubs.push_back(v1::PasidBindingService::NewStub(Connect(address, i)));
  }
  return RunClosedLoop(in_flight, duration, [&](std::function<void(bool)> done) {
    const int64_t number = (*next)++;
    StartCreate(*stubs[static_cast<size_t>(number) % stubs.size()], CreateRequest(number, machines),
                std::move(done));
  });
}

absl::StatusOr<absl::Duration> CreateBatches(const std::string& address, int64_t first,
                                             int64_t count, int machines) {
  std::atomic<int64_t> next = first;
  std::mutex mutex;
  absl::Status failure;
  const absl::Time start = absl::Now();
  std::vector<std::thread> threads;
  threads.reserve(kMaxChannels);
  for (int i = 0; i < kMaxChannels; ++i) {
    threads.emplace_back([&, i] {
      auto stub = v1::PasidBindingService::NewStub(Connect(address, i));
      for (int64_t from; (from = next.fetch_add(kBatch)) < first + count;) {
        v1::BatchCreatePasidBindingsRequest request;
        for (int64_t number = from; number < std::min(from + kBatch, first + count); ++number) {
          *request.add_requests() = CreateRequest(number, machines);
        }
        v1::BatchCreatePasidBindingsResponse response;
        const grpc::Status status = stub->BatchCreatePasidBindings(Context(), request, &response);
        if (status.ok()) continue;
        std::lock_guard lock(mutex);
        failure = FromGrpcStatus(status);
        return;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  RETURN_IF_ERROR(failure);
  return absl::Now() - start;
}

absl::StatusOr<absl::Duration> MeasureStreamRoundTrip(const std::string& address) {
  auto stub = v1::AgentService::NewStub(Connect(address, 0));
  Context context;
  auto stream = stub->Sync(context);
  std::vector<absl::Duration> samples;
  v1::SyncResponse response;
  for (int i = 0; i < 1000; ++i) {
    const absl::Time start = absl::Now();
    if (!stream->Write(v1::SyncRequest()) || !stream->Read(&response)) {
      return absl::UnavailableError("the echo's stream broke");
    }
    samples.push_back(absl::Now() - start);
  }
  stream->WritesDone();
  stream->Finish();
  return Percentile(std::move(samples), 0.5);
}

absl::StatusOr<absl::Duration> NestorUnderTest::Start() {
  const absl::Time start = absl::Now();
  server_ = std::make_unique<testing::Process>(
      "nestor-server",
      std::vector<std::string>{"--data-dir", directory_ + "/store", "--listen", api_address(),
                               "--agent-listen", "unix:" + directory_ + "/agents.sock",
                               "--insecure", "--log-level", "warn"},
      directory_ + "/server.log");
  auto stub = v1::HostService::NewStub(Connect(api_address(), kMaxChannels + 1));
  v1::ListHostsRequest request;
  request.set_page_size(1);
  grpc::Status status;
  do {
    v1::ListHostsResponse response;
    status = stub->ListHosts(Context(), request, &response);
  } while (status.error_code() == grpc::UNAVAILABLE && absl::Now() - start < kPatience);
  RETURN_IF_ERROR(FromGrpcStatus(status));
  return absl::Now() - start;
}

absl::Status NestorUnderTest::Stop() {
  guest_.reset();
  agent_.reset();
  server_->Signal(SIGTERM);
  const auto code = server_->Wait(kPatience);
  if (!code.ok() || *code != 0) return absl::InternalError("the server did not stop cleanly");
  server_.reset();
  return absl::OkStatus();
}

absl::StatusOr<int64_t> NestorUnderTest::ResidentBytes() const {
  std::ifstream status(absl::StrCat("/proc/", server_->pid(), "/status"));
  for (std::string word; status >> word;) {
    int64_t kibibytes = 0;
    if (word == "VmRSS:" && status >> kibibytes) return kibibytes * 1024;
  }
  return absl::NotFoundError("the server's /proc status has no VmRSS");
}

absl::StatusOr<absl::Duration> NestorUnderTest::ProcessorTime() const {
  std::ifstream file(absl::StrCat("/proc/", server_->pid(), "/stat"));
  const std::string stat((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  // proc(5): utime and stime are fields 14 and 15; the name, field 2, ends with the last ')'.
  const size_t after_name = stat.rfind(')');
  if (after_name == std::string::npos) return absl::NotFoundError("the server has no /proc stat");
  std::istringstream fields(stat.substr(after_name + 1));
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  int64_t user = 0;
  int64_t system = 0;
  if (!(fields >> user >> system)) return absl::InternalError("the server's stat is too short");
  return absl::Seconds(user + system) / sysconf(_SC_CLK_TCK);
}

absl::StatusOr<int64_t> NestorUnderTest::ProgrammedBindings() const {
  auto stub = v1::VirtualMachineService::NewStub(Connect(api_address(), 0));
  int64_t programmed = 0;
  v1::ListVirtualMachinesRequest request;
  request.set_parent("projects/-");
  request.set_page_size(1000);
  do {
    v1::ListVirtualMachinesResponse response;
    RETURN_IF_ERROR(FromGrpcStatus(stub->ListVirtualMachines(Context(), request, &response)));
    for (const v1::VirtualMachine& machine : response.virtual_machines()) {
      programmed += machine.status().programmed_bindings();
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return programmed;
}

absl::Status NestorUnderTest::StartAgentAndGuest() {
  agent_ = std::make_unique<testing::Process>(
      "nestor-agent",
      std::vector<std::string>{
          "--host", "ladder", "--server", "unix:" + directory_ + "/agents.sock", "--run-dir",
          directory_ + "/run", "--kernel", "sim", "--insecure", "--log-level", "warn"},
      directory_ + "/agent.log");
  RETURN_IF_ERROR(
      CreateMachine(api_address(), Machine(kLadderMachine, "hosts/ladder", kLadderDevice)));
  RETURN_IF_ERROR(CreateMachine(api_address(), Machine(kLoadMachine, "hosts/load", kDevice)));
  guest_ = std::make_unique<testing::Process>(
      "nestor-guest",
      std::vector<std::string>{"--socket-dir", directory_ + "/run/vmm", "--vm", kLadderMachine,
                               "--memory", "64MiB", "--device", kLadderDevice, "--root",
                               "0x1000:bench"},
      directory_ + "/guest.log");
  return guest_->ReadLine(kPatience).status();
}

absl::StatusOr<NestorUnderTest::Ladder> NestorUnderTest::MeasureLadder(int rounds, double load) {
  if (agent_ == nullptr) RETURN_IF_ERROR(StartAgentAndGuest());
  auto bindings = v1::PasidBindingService::NewStub(Connect(api_address(), 0));
  auto watches = v1::WatchService::NewStub(Connect(api_address(), 1));
  v1::WatchRequest watch;
  watch.add_kinds(v1::WatchRequest::KIND_PASID_BINDING);
  watch.set_parent(kLadderMachine);
  Context context;
  auto stream = watches->Watch(context, watch);
  v1::WatchResponse event;
  while (stream->Read(&event) && event.type() != v1::WatchResponse::TYPE_SYNCED) {
  }
  const auto steady = load > 0 ? std::make_unique<SteadyLoad>(api_address(), load) : nullptr;
  std::vector<absl::Duration> samples;
  for (int i = 0; i < rounds; ++i) {
    const int number = ++ladder_rounds_;
    v1::CreatePasidBindingRequest request = CreateRequest(number, 1);
    request.mutable_pasid_binding()->set_name(
        absl::StrCat(kLadderMachine, "/pasidBindings/b-", number));
    request.mutable_pasid_binding()->mutable_spec()->set_device(kLadderDevice);
    v1::PasidBinding created;
    const absl::Time start = absl::Now();
    RETURN_IF_ERROR(FromGrpcStatus(bindings->CreatePasidBinding(Context(), request, &created)));
    do {
      if (!stream->Read(&event)) return FromGrpcStatus(stream->Finish());
    } while (event.pasid_binding().name() != created.name() ||
             event.pasid_binding().status().state() != v1::PasidBindingStatus::STATE_PROGRAMMED);
    samples.push_back(absl::Now() - start);
  }
  return Ladder{Percentile(samples, 0.5), Percentile(samples, 0.99)};
}

}  // namespace nestor::bench
