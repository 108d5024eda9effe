// A server for the tests of the commands: it keeps no rules, it answers as it is told to.
#pragma once

#include <grpcpp/server.h>
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/commands/command_line.h"
#include "nestor/v1/host_admin_service.grpc.pb.h"
#include "nestor/v1/host_service.grpc.pb.h"
#include "nestor/v1/pasid_binding_service.grpc.pb.h"
#include "nestor/v1/virtual_machine_service.grpc.pb.h"
#include "nestor/v1/watch_service.grpc.pb.h"
#include "tests/testing/process.h"

namespace nestor::cli {

inline constexpr char kMachine[] = "projects/demo/virtualMachines/web-1";

// Binding sva-{i} of kMachine at generation 1.
v1::PasidBinding Binding(int i, v1::PasidBindingStatus::State state);
v1::WatchResponse Put(const v1::PasidBinding& binding);

class FakeHosts final : public v1::HostService::Service {
 public:
  // Two pages of one host each.
  grpc::Status ListHosts(grpc::ServerContext*, const v1::ListHostsRequest* request,
                         v1::ListHostsResponse* response) override;
  // The next of `answers`; none where there is none.
  grpc::Status GetHost(grpc::ServerContext*, const v1::GetHostRequest* request,
                       v1::Host* response) override;
  grpc::Status CreateHost(grpc::ServerContext*, const v1::CreateHostRequest* request,
                          v1::Host* response) override;

  std::string filter;
  std::deque<v1::Host> answers;
};

class FakeHostAdmin final : public v1::HostAdminService::Service {
 public:
  grpc::Status FenceHost(grpc::ServerContext*, const v1::FenceHostRequest* request,
                         v1::Host* response) override;
  grpc::Status DrainHost(grpc::ServerContext*, const v1::DrainHostRequest* request,
                         v1::Host* response) override;
  grpc::Status UndrainHost(grpc::ServerContext*, const v1::UndrainHostRequest* request,
                           v1::Host* response) override;

  std::vector<v1::FenceHostRequest> fenced;
  std::vector<std::string> undrained;
  absl::Status error;
  v1::Host response;
};

class FakeMachines final : public v1::VirtualMachineService::Service {
 public:
  grpc::Status GetVirtualMachine(grpc::ServerContext*, const v1::GetVirtualMachineRequest* request,
                                 v1::VirtualMachine* response) override;
  grpc::Status ApplyVirtualMachine(grpc::ServerContext*,
                                   const v1::ApplyVirtualMachineRequest* request,
                                   v1::ApplyVirtualMachineResponse* response) override;

  std::map<std::string, v1::VirtualMachine> stored;
  std::vector<v1::ApplyVirtualMachineRequest> applied;
  v1::ApplyVirtualMachineResponse apply_response;
  absl::Status apply_error;
};

class FakeBindings final : public v1::PasidBindingService::Service {
 public:
  grpc::Status GetPasidBinding(grpc::ServerContext*, const v1::GetPasidBindingRequest* request,
                               v1::PasidBinding* response) override;
  // The stored ones in one page, whatever is asked for; or, where `generated` is set, that many,
  // each of about 600 bytes.
  grpc::Status ListPasidBindings(grpc::ServerContext*, const v1::ListPasidBindingsRequest* request,
                                 v1::ListPasidBindingsResponse* response) override;
  grpc::Status CreatePasidBinding(grpc::ServerContext*,
                                  const v1::CreatePasidBindingRequest* request,
                                  v1::PasidBinding* response) override;
  grpc::Status UpdatePasidBinding(grpc::ServerContext*,
                                  const v1::UpdatePasidBindingRequest* request,
                                  v1::PasidBinding* response) override;
  grpc::Status DeletePasidBinding(grpc::ServerContext*,
                                  const v1::DeletePasidBindingRequest* request,
                                  v1::PasidBinding* response) override;
  grpc::Status ExplainPasidBinding(grpc::ServerContext*,
                                   const v1::ExplainPasidBindingRequest* request,
                                   v1::ExplainPasidBindingResponse* response) override;

  grpc::Status GetPasidBindingTimeline(grpc::ServerContext*,
                                       const v1::GetPasidBindingTimelineRequest* request,
                                       v1::GetPasidBindingTimelineResponse* response) override;

  grpc::Status InvalidateCache(grpc::ServerContext*, const v1::InvalidateCacheRequest* request,
                               v1::InvalidateCacheResponse*) override;

  std::map<std::string, v1::PasidBinding> stored;
  absl::Status invalidate_error;
  std::vector<v1::InvalidateCacheRequest> invalidated;
  std::vector<v1::CreatePasidBindingRequest> created;
  std::vector<v1::UpdatePasidBindingRequest> updated;
  std::vector<std::string> deleted;
  int generated = 0;
  // Called before a page of generated bindings is answered, with the number of its first.
  std::function<void(int first)> before_page = [](int) {};

 private:
  void GeneratePage(const v1::ListPasidBindingsRequest& request,
                    v1::ListPasidBindingsResponse* response) const;
};

class FakeWatch final : public v1::WatchService::Service {
 public:
  // One stream: its events, then its end; without an end it stays open.
  struct Stream {
    std::vector<v1::WatchResponse> events;
    std::optional<grpc::Status> end;
  };

  // Serves the streams in order, the last one again and again.
  grpc::Status Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                     grpc::ServerWriter<v1::WatchResponse>* writer) override;

  std::deque<Stream> streams;
  std::vector<v1::WatchRequest> requests;
};

// The services on a unix socket. What they answer is set before they are asked.
class FakeServer {
 public:
  FakeServer();
  ~FakeServer();
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  std::string address() const { return "unix:" + directory() + "/s"; }
  // For files of the test; removed at the end.
  const std::string& directory() const { return directory_.path(); }

  FakeHosts hosts;
  FakeHostAdmin host_admin;
  FakeMachines machines;
  FakeBindings bindings;
  FakeWatch watch;

 private:
  testing::TemporaryDirectory directory_;
  std::unique_ptr<grpc::Server> server_;
};

class FakeServerTest : public ::testing::Test {
 protected:
  // Runs one command line in project demo, inside this process.
  ExitCode Run(std::vector<std::string> arguments, const std::string& input = "");
  // As if a person typed the input.
  ExitCode RunOnTerminal(std::vector<std::string> arguments, const std::string& input);

  FakeServer fake_;
  std::istringstream in_;
  std::ostringstream out_;
  std::ostringstream err_;
};

}  // namespace nestor::cli
