#include "tests/component/local_cluster.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "api/support/grpc_address.h"
#include "gtest/gtest.h"

namespace nestor::testing {

LocalCluster::LocalCluster() {
  auto channel = grpc::CreateCustomChannel(ApiAddress(), grpc::InsecureChannelCredentials(),
                                           ClientChannelArguments());
  hosts_ = v1::HostService::NewStub(channel);
  machines_ = v1::VirtualMachineService::NewStub(channel);
  bindings_ = v1::PasidBindingService::NewStub(channel);
  watch_ = v1::WatchService::NewStub(channel);
}

LocalCluster::~LocalCluster() {
  agents_.clear();
  KillShims();
  if (!::testing::Test::HasFailure()) return;
  for (const char* log : {"server.log", "agent.log", "simkernel.log", "guest.log"}) {
    std::printf("--- %s\n", log);
    std::fflush(stdout);
    const std::string command = absl::StrCat("tail -n 20 ", directory(), "/", log);
    if (std::system(command.c_str()) != 0) std::printf("(none)\n");
  }
}

// A shim is no child of the test: it is known by its socket under the test's directory.
void LocalCluster::KillShims() {
  std::error_code ignored;
  for (const auto& process : std::filesystem::directory_iterator("/proc", ignored)) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(process.path().filename().string(), &pid)) continue;
    std::ifstream file(process.path() / "cmdline");
    const std::string command{std::istreambuf_iterator<char>(file), {}};
    if (absl::StrContains(command,
                          absl::StrCat("--listen", absl::string_view("\0", 1), directory(), "/"))) {
      kill(pid, SIGKILL);
    }
  }
}

std::string LocalCluster::ProgramPath(const std::string& program) {
  return std::filesystem::read_symlink("/proc/self/exe").replace_filename(program);
}

void LocalCluster::StartServer() {
  std::vector<std::string> command = server_environment_;
  for (const std::string& argument :
       {ProgramPath("nestor-server"), std::string("--data-dir"), directory() + "/store",
        std::string("--listen"), ApiAddress(), std::string("--agent-listen"), AgentAddress(),
        std::string("--insecure")}) {
    command.push_back(argument);
  }
  server_ = std::make_unique<Process>("/usr/bin/env", command, directory() + "/server.log");
  // A first call may still meet the connection to a server that was killed.
  const absl::Time deadline = absl::Now() + kPatience;
  grpc::Status status;
  do {
    v1::ListHostsResponse hosts;
    status = hosts_->ListHosts(CallContext(), v1::ListHostsRequest(), &hosts);
  } while (status.error_code() == grpc::StatusCode::UNAVAILABLE && absl::Now() < deadline);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

absl::StatusOr<int> LocalCluster::StopServer() {
  server_->Signal(SIGTERM);
  auto code = server_->Wait(kPatience);
  server_.reset();
  return code;
}

void LocalCluster::StartAgent(const std::string& host, int devices,
                              const std::string& personality) {
  if (!kernels_.contains(host)) {
    kernels_[host] = std::make_unique<Process>(
        "nestor-simkernel",
        std::vector<std::string>{"--listen", "unix:" + KernelSocket(host), "--devices",
                                 absl::StrCat(devices), "--personality", personality},
        directory() + "/simkernel.log");
    // A line of log, once it listens.
    const absl::StatusOr<std::string> ready = kernels_[host]->ReadLine(kPatience);
    EXPECT_TRUE(ready.ok()) << ready.status();
  }
  const auto route = routes_.find(host);
  const std::string server = route == routes_.end() ? AgentAddress() : route->second;
  std::vector<std::string> arguments = {"--host",    host,
                                        "--server",  server,
                                        "--run-dir", directory() + "/" + host,
                                        "--kernel",  "sim:" + KernelSocket(host),
                                        "--insecure"};
  arguments.insert(arguments.end(), agent_options_.begin(), agent_options_.end());
  agents_[host] = std::make_unique<Process>("nestor-agent", arguments, directory() + "/agent.log");
}

Process& LocalCluster::StartGuest(const std::string& host, const std::string& vm,
                                  const std::vector<std::string>& devices,
                                  const std::vector<uint64_t>& roots) {
  std::vector<std::string> arguments = {
      "--socket-dir", absl::StrCat(directory(), "/", host, "/vmm"),
      "--vm",         "projects/test/virtualMachines/" + vm,
      "--memory",     "64MiB"};
  for (const std::string& device : devices) {
    arguments.insert(arguments.end(), {"--device", device});
  }
  for (uint64_t root : roots) {
    arguments.insert(arguments.end(),
                     {"--root", absl::StrFormat("0x%x:page of root 0x%x", root, root)});
  }
  guests_[vm] = std::make_unique<Process>("nestor-guest", arguments, directory() + "/guest.log");
  // "ready BDF...": its memory is handed over.
  const absl::StatusOr<std::string> ready = guests_[vm]->ReadLine(kPatience);
  EXPECT_TRUE(ready.ok()) << ready.status();
  return *guests_[vm];
}

std::string LocalCluster::KernelStatus(const std::string& host) {
  Process status("nestor-simkernel", {"--status", "unix:" + KernelSocket(host)},
                 directory() + "/simkernel.log");
  return status.ReadAll();
}

int LocalCluster::Ctl(std::vector<std::string> arguments, std::string* output) {
  arguments.insert(arguments.begin(), {"--server", ApiAddress(), "--insecure"});
  Process ctl("nestorctl", arguments, directory() + "/ctl.log");
  *output = ctl.ReadAll();
  auto code = ctl.Wait(kPatience);
  return code.ok() ? *code : -1;
}

v1::VirtualMachine TestMachine(const std::string& vm, const std::string& host,
                               const std::vector<std::string>& devices) {
  v1::VirtualMachine machine;
  machine.set_name("projects/test/virtualMachines/" + vm);
  auto* placement = machine.mutable_spec()->mutable_placement();
  placement->set_host("hosts/" + host);
  for (const std::string& device : devices) placement->add_devices(device);
  return machine;
}

v1::PasidBinding TestBinding(const std::string& vm, const std::string& binding,
                             const std::string& device, uint32_t pasid, uint64_t root) {
  v1::PasidBinding result;
  result.set_name(absl::StrCat("projects/test/virtualMachines/", vm, "/pasidBindings/", binding));
  auto* spec = result.mutable_spec();
  spec->set_device(device);
  spec->set_pasid(pasid);
  spec->mutable_page_table()->set_format(v1::PageTable::FORMAT_VTD_S1);
  spec->mutable_page_table()->set_root(root);
  spec->mutable_page_table()->set_address_width(48);
  return result;
}

}  // namespace nestor::testing
