// A whole cluster of real processes on this machine: one server, agents on simulated
// kernels, guests; and stubs to talk to it.
#pragma once

#include <grpcpp/client_context.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "nestor/v1/host_service.grpc.pb.h"
#include "nestor/v1/pasid_binding_service.grpc.pb.h"
#include "nestor/v1/virtual_machine_service.grpc.pb.h"
#include "nestor/v1/watch_service.grpc.pb.h"
#include "tests/testing/process.h"

namespace nestor::testing {

// How long anything in a test may take before the test fails.
inline constexpr absl::Duration kPatience = absl::Seconds(30);

// A call's context with a deadline, which waits for a server that is starting.
class CallContext {
 public:
  explicit CallContext(absl::Duration timeout = kPatience) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    context_.set_wait_for_ready(true);
  }
  operator grpc::ClientContext*() { return &context_; }  // NOLINT: reads like the argument it is

 private:
  grpc::ClientContext context_;
};

class LocalCluster {
 public:
  LocalCluster();
  ~LocalCluster();

  void StartServer();
  void KillServer() { server_.reset(); }
  void SignalServer(int signal) { server_->Signal(signal); }
  // SIGTERM; the exit code.
  absl::StatusOr<int> StopServer();
  // An agent on the host's simulated kernel, a nestor-simkernel that is started with the host's
  // first agent and outlives it.
  void StartAgent(const std::string& host, int devices = 2,
                  const std::string& personality = "series");
  // More options of agents that are started from now on.
  void SetAgentOptions(std::vector<std::string> options) { agent_options_ = std::move(options); }
  // What servers that are started from now on have in their environment: NAME=VALUE.
  void SetServerEnvironment(std::vector<std::string> variables) {
    server_environment_ = std::move(variables);
  }
  // Agents of `host` that are started from now on dial `address` instead of the server's.
  void RouteAgent(const std::string& host, std::string address) {
    routes_[host] = std::move(address);
  }
  void SignalAgent(const std::string& host, int signal) { agents_.at(host)->Signal(signal); }
  // kill -9; returns when it is gone. Shims in processes of their own live on.
  void KillAgent(const std::string& host) { agents_.erase(host); }
  // kill -9 of all shims' processes.
  void KillShims();
  // A guest of `vm` (the id in project "test") on `host`, with one page table for each root.
  Process& StartGuest(const std::string& host, const std::string& vm,
                      const std::vector<std::string>& devices, const std::vector<uint64_t>& roots);
  void KillGuest(const std::string& vm) { guests_.erase(vm); }

  v1::HostService::Stub& hosts() { return *hosts_; }
  v1::VirtualMachineService::Stub& machines() { return *machines_; }
  v1::PasidBindingService::Stub& bindings() { return *bindings_; }
  v1::WatchService::Stub& watch() { return *watch_; }

  // Of a program of this build.
  static std::string ProgramPath(const std::string& program);
  const std::string& directory() const { return directory_.path(); }
  // What the simulated kernel of `host` holds, as nestor-simkernel --status prints it.
  std::string KernelStatus(const std::string& host);
  // Runs nestorctl to its end: its exit code, and its stdout in `output`.
  int Ctl(std::vector<std::string> arguments, std::string* output);

 private:
  std::string KernelSocket(const std::string& host) const {
    return directory_.path() + "/" + host + ".sim.sock";
  }
  std::string ApiAddress() const { return "unix:" + directory_.path() + "/api.sock"; }
  std::string AgentAddress() const { return "unix:" + directory_.path() + "/agents.sock"; }

  TemporaryDirectory directory_;
  std::unique_ptr<Process> server_;
  std::map<std::string, std::unique_ptr<Process>> kernels_;  // by host
  std::map<std::string, std::unique_ptr<Process>> agents_;
  std::vector<std::string> agent_options_;
  std::vector<std::string> server_environment_;
  std::map<std::string, std::string> routes_;  // by host
  std::map<std::string, std::unique_ptr<Process>> guests_;
  std::unique_ptr<v1::HostService::Stub> hosts_;
  std::unique_ptr<v1::VirtualMachineService::Stub> machines_;
  std::unique_ptr<v1::PasidBindingService::Stub> bindings_;
  std::unique_ptr<v1::WatchService::Stub> watch_;
};

// projects/test/virtualMachines/{vm} on hosts/{host} with `devices`.
v1::VirtualMachine TestMachine(const std::string& vm, const std::string& host,
                               const std::vector<std::string>& devices);
// {vm}/pasidBindings/{binding}: `root` for `pasid` of `device`.
v1::PasidBinding TestBinding(const std::string& vm, const std::string& binding,
                             const std::string& device, uint32_t pasid, uint64_t root);

}  // namespace nestor::testing
