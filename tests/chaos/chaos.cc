#include "tests/chaos/chaos.h"

#include <signal.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace nestor::chaos {
namespace {

using testing::CallContext;
using testing::Process;

constexpr char kSteadyDevice[] = "0000:01:00.0";
constexpr char kChurnDevice[] = "0000:02:00.0";
constexpr uint32_t kSteadyPasid = 7;
constexpr uint32_t kChurnPasids = 1000;  // PASIDs are the host's with the default kernel
constexpr uint64_t kAddress = 0x7f0000000000;
const std::vector<uint64_t> kRoots = {0x100000, 0x200000, 0x300000};

std::string TextOf(uint64_t root) { return absl::StrFormat("root-%x", root); }

}  // namespace

Chaos::Chaos(Options options)
    : options_(options),
      full_disk_(cluster_.directory() + "/disk-is-full"),
      random_(options.seed),
      start_(absl::Now()) {
  if (options_.full_disk) {
    cluster_.SetServerEnvironment(
        {"LD_PRELOAD=" + testing::LocalCluster::ProgramPath("nestor-full-disk.so"),
         "NESTOR_TEST_FULL_DISK=" + full_disk_});
  }
  cluster_.SetAgentOptions({"--shim", "fork"});
}

Chaos::~Chaos() = default;

Report Chaos::Run() {
  cluster_.StartServer();
  for (int i = 0; i < options_.hosts; ++i) StartHost(i);
  Say(absl::StrFormat("%d hosts, all programmed; faults from now on", options_.hosts));
  while (absl::Now() < start_ + options_.time) Injure();
  Say("no more faults");
  const absl::Time calm = absl::Now();
  for (const auto& host : hosts_) host->churn->Stop();
  AwaitConvergence(&report_);
  report_.convergence = absl::Now() - calm;
  for (const auto& host : hosts_) {
    host->load->Stop();
    report_.dmas += host->load->dmas();
    report_.dma_faults += host->load->failures();
    CheckKernel(*host, &report_);
  }
  return report_;
}

void Chaos::StartHost(int index) {
  auto host = std::make_unique<Host>();
  host->name = absl::StrCat("h", index);
  const std::string path = absl::StrCat(cluster_.directory(), "/", host->name, ".line.sock");
  host->line = std::make_unique<AgentLine>(path, cluster_.directory() + "/agents.sock",
                                           cluster_.directory() + "/socat.log");
  cluster_.RouteAgent(host->name, host->line->address());
  cluster_.StartAgent(host->name);
  v1::CreateHostRequest declare;
  declare.mutable_host()->set_name("hosts/" + host->name);
  v1::Host declared;
  // The agent may have been quicker.
  cluster_.hosts().CreateHost(CallContext(), declare, &declared);
  const std::string steady = "steady-" + host->name;
  const std::string churn = "churn-" + host->name;
  CreateMachine(steady, host->name, kSteadyDevice);
  CreateMachine(churn, host->name, kChurnDevice);
  host->steady_guest = StartGuest(*host, steady, kSteadyDevice);
  host->churn_guest = StartGuest(*host, churn, kChurnDevice);

  v1::CreatePasidBindingRequest create;
  *create.mutable_pasid_binding() =
      testing::TestBinding(steady, "b", kSteadyDevice, kSteadyPasid, kRoots[0]);
  v1::PasidBinding binding;
  cluster_.bindings().CreatePasidBinding(CallContext(), create, &binding);
  const std::string why = Await(binding.name(), v1::WaitPasidBindingRequest::WANT_PROGRAMMED);
  if (!why.empty()) report_.unconverged.push_back(why);
  host->load =
      std::make_unique<testing::DmaLoad>(*host->steady_guest, kSteadyPasid, TextOf(kRoots[0]));
  host->churn = std::make_unique<Churn>(
      cluster_.bindings(),
      Churn::Options{.vm = churn,
                     .device = kChurnDevice,
                     .first_pasid = kChurnPasids * static_cast<uint32_t>(index + 1),
                     .roots = kRoots,
                     .seed = options_.seed + static_cast<uint64_t>(index)});
  hosts_.push_back(std::move(host));
}

void Chaos::CreateMachine(const std::string& vm, const std::string& host,
                          const std::string& device) {
  v1::CreateVirtualMachineRequest request;
  *request.mutable_virtual_machine() = testing::TestMachine(vm, host, {device});
  v1::VirtualMachine machine;
  const grpc::Status status =
      cluster_.machines().CreateVirtualMachine(CallContext(), request, &machine);
  if (!status.ok()) report_.unconverged.push_back(vm + ": " + status.error_message());
}

std::unique_ptr<Process> Chaos::StartGuest(const Host& host, const std::string& vm,
                                           const std::string& device) {
  std::vector<std::string> arguments = {
      "--socket-dir", absl::StrCat(cluster_.directory(), "/", host.name, "/vmm"),
      "--vm",         "projects/test/virtualMachines/" + vm,
      "--memory",     "16MiB",
      "--device",     device};
  for (const uint64_t root : kRoots) {
    arguments.insert(arguments.end(), {"--root", absl::StrFormat("0x%x:%s", root, TextOf(root))});
  }
  auto guest =
      std::make_unique<Process>("nestor-guest", arguments, cluster_.directory() + "/guest.log");
  const auto ready = guest->ReadLine(testing::kPatience);
  if (!ready.ok())
    report_.unconverged.push_back(absl::StrCat(vm, "'s guest: ", ready.status().ToString()));
  return guest;
}

std::vector<Chaos::Fault> Chaos::Faults() {
  std::vector<Fault> faults = {
      {"server killed", [this] { KillServer(); }}, {"server stopped", [this] { StopServer(); }},
      {"agent killed", [this] { KillAgent(); }},   {"agent stopped", [this] { StopAgent(); }},
      {"line cut", [this] { CutLine(); }},         {"line stalled", [this] { StallLine(); }},
      {"line slow", [this] { SlowLine(); }},
  };
  if (options_.full_disk) faults.push_back({"disk full", [this] { FillDisk(); }});
  return faults;
}

void Chaos::Injure() {
  absl::SleepFor(Between(absl::ZeroDuration(), absl::Milliseconds(800)));
  const std::vector<Fault> faults = Faults();
  const Fault& fault = faults[random_() % faults.size()];
  ++report_.faults[fault.name];
  fault.inject();
}

void Chaos::KillServer() {
  const absl::Duration pause = Between(absl::ZeroDuration(), absl::Seconds(2));
  Say(absl::StrCat("server killed for ", absl::FormatDuration(pause)));
  cluster_.KillServer();
  absl::SleepFor(pause);
  cluster_.StartServer();
}

void Chaos::StopServer() {
  const absl::Duration pause = Between(absl::Milliseconds(100), absl::Seconds(4));
  Say(absl::StrCat("server stopped for ", absl::FormatDuration(pause)));
  cluster_.SignalServer(SIGSTOP);
  absl::SleepFor(pause);
  cluster_.SignalServer(SIGCONT);
}

// A server that could not write serves what it has, and writes again once it is started again.
void Chaos::FillDisk() {
  const absl::Duration pause = Between(absl::Milliseconds(100), absl::Seconds(2));
  Say(absl::StrCat("server's disk full for ", absl::FormatDuration(pause)));
  std::ofstream(full_disk_).close();
  absl::SleepFor(pause);
  v1::ListHostsResponse hosts;
  const grpc::Status status =
      cluster_.hosts().ListHosts(CallContext(), v1::ListHostsRequest(), &hosts);
  if (!status.ok()) {
    report_.unconverged.push_back("a read while the disk is full: " + status.error_message());
  }
  std::filesystem::remove(full_disk_);
  cluster_.KillServer();
  cluster_.StartServer();
}

void Chaos::KillAgent() {
  Host& host = AnyHost();
  const absl::Duration pause = Between(absl::ZeroDuration(), absl::Seconds(2));
  Say(absl::StrCat(host.name, "'s agent killed for ", absl::FormatDuration(pause)));
  cluster_.KillAgent(host.name);
  absl::SleepFor(pause);
  cluster_.StartAgent(host.name);
}

void Chaos::StopAgent() {
  Host& host = AnyHost();
  const absl::Duration pause = Between(absl::Milliseconds(100), absl::Seconds(4));
  Say(absl::StrCat(host.name, "'s agent stopped for ", absl::FormatDuration(pause)));
  cluster_.SignalAgent(host.name, SIGSTOP);
  absl::SleepFor(pause);
  cluster_.SignalAgent(host.name, SIGCONT);
}

void Chaos::CutLine() {
  Host& host = AnyHost();
  const absl::Duration pause = Between(absl::ZeroDuration(), absl::Seconds(2));
  Say(absl::StrCat(host.name, "'s line cut for ", absl::FormatDuration(pause)));
  host.line->Cut();
  absl::SleepFor(pause);
  host.line->Mend();
}

void Chaos::StallLine() {
  Host& host = AnyHost();
  const absl::Duration pause = Between(absl::Milliseconds(100), absl::Seconds(5));
  Say(absl::StrCat(host.name, "'s line stalled for ", absl::FormatDuration(pause)));
  host.line->Stall();
  absl::SleepFor(pause);
  host.line->Resume();
}

void Chaos::SlowLine() {
  Host& host = AnyHost();
  Say(absl::StrCat(host.name, "'s line slow for 2 s"));
  for (int i = 0; i < 20; ++i) {
    host.line->Stall();
    absl::SleepFor(absl::Milliseconds(80));
    host.line->Resume();
    absl::SleepFor(absl::Milliseconds(20));
  }
}

absl::Duration Chaos::Between(absl::Duration least, absl::Duration most) {
  const auto span = static_cast<uint64_t>(absl::ToInt64Milliseconds(most - least));
  return least + absl::Milliseconds(static_cast<int64_t>(random_() % (span + 1)));
}

void Chaos::Say(const std::string& what) const {
  std::printf("%6.1f s  %s\n", absl::ToDoubleSeconds(absl::Now() - start_), what.c_str());
  std::fflush(stdout);
}

std::string Chaos::Await(const std::string& name, v1::WaitPasidBindingRequest::Want want) {
  v1::WaitPasidBindingRequest request;
  request.set_name(name);
  request.set_want(want);
  request.mutable_timeout()->set_seconds(60);
  v1::WaitPasidBindingResponse response;
  const grpc::Status status =
      cluster_.bindings().WaitPasidBinding(CallContext(absl::Seconds(70)), request, &response);
  if (status.ok()) return "";
  return absl::StrCat(name, ": ", status.error_message());
}

void Chaos::AwaitConvergence(Report* report) {
  const auto await = [&](const std::string& name, v1::WaitPasidBindingRequest::Want want) {
    if (std::string why = Await(name, want); !why.empty()) report->unconverged.push_back(why);
  };
  for (const auto& host : hosts_) {
    Churn& churn = *host->churn;
    report->acknowledged += churn.acknowledged();
    for (const std::string& lost : churn.lost()) report->lost.push_back(lost);
    await("projects/test/virtualMachines/steady-" + host->name + "/pasidBindings/b",
          v1::WaitPasidBindingRequest::WANT_PROGRAMMED);
    for (const auto& [id, intent] : churn.held()) {
      await(churn.Name(id), v1::WaitPasidBindingRequest::WANT_PROGRAMMED);
      const auto answer = host->churn_guest->Ask(
          absl::StrFormat("expect %d 0x%x %s", intent.pasid, kAddress, TextOf(intent.root)),
          testing::kPatience);
      if (!answer.ok() || !absl::StartsWith(*answer, "ok")) {
        report->lost.push_back(absl::StrCat(churn.Name(id), ": its DMA says ",
                                            answer.ok() ? *answer : answer.status().ToString()));
      }
    }
    for (const std::string& id : churn.deleted()) {
      await(churn.Name(id), v1::WaitPasidBindingRequest::WANT_ABSENT);
    }
  }
}

// It holds what was acknowledged, and nothing besides.
void Chaos::CheckKernel(const Host& host, Report* report) {
  const auto status = nlohmann::json::parse(cluster_.KernelStatus(host.name), nullptr, false);
  const int expected = 1 + static_cast<int>(host.churn->held().size());
  for (const char* what : {"bindings", "pasids"}) {
    const int found = status.value(what, -1);
    if (found == expected) continue;
    report->unconverged.push_back(absl::StrFormat("%s's kernel has %d %s, %d are intended",
                                                  host.name, found, what, expected));
  }
}

}  // namespace nestor::chaos
