// The commands against a server that answers as it is told to.
#include "cli/commands/command_line.h"

#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <filesystem>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "api/support/grpc_status.h"

namespace nestor::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kMachine[] = "projects/demo/virtualMachines/web-1";

v1::PasidBinding Binding(int i, v1::PasidBindingStatus::State state) {
  v1::PasidBinding binding;
  binding.set_name(absl::StrCat(kMachine, "/pasidBindings/sva-", i));
  binding.mutable_metadata()->set_generation(1);
  binding.mutable_metadata()->set_revision(6);
  binding.mutable_status()->set_state(state);
  binding.mutable_status()->set_observed_generation(1);
  return binding;
}

v1::WatchResponse Put(const v1::PasidBinding& binding) {
  v1::WatchResponse event;
  event.set_type(v1::WatchResponse::TYPE_PUT);
  *event.mutable_pasid_binding() = binding;
  return event;
}

class FakeHosts final : public v1::HostService::Service {
 public:
  // Two pages of one host each.
  grpc::Status ListHosts(grpc::ServerContext*, const v1::ListHostsRequest* request,
                         v1::ListHostsResponse* response) override {
    filter = request->filter();
    const bool first = request->page_token().empty();
    response->add_hosts()->set_name(first ? "hosts/host-a" : "hosts/host-b");
    if (first) response->set_next_page_token("more");
    return grpc::Status::OK;
  }
  grpc::Status GetHost(grpc::ServerContext*, const v1::GetHostRequest* request,
                       v1::Host*) override {
    return ToGrpcStatus(errors::NotFound(request->name()));
  }
  grpc::Status CreateHost(grpc::ServerContext*, const v1::CreateHostRequest* request,
                          v1::Host* response) override {
    *response = request->host();
    response->mutable_metadata()->set_revision(5);
    return grpc::Status::OK;
  }

  std::string filter;
};

class FakeMachines final : public v1::VirtualMachineService::Service {
 public:
  grpc::Status ApplyVirtualMachine(grpc::ServerContext*,
                                   const v1::ApplyVirtualMachineRequest* request,
                                   v1::ApplyVirtualMachineResponse* response) override {
    applied.push_back(*request);
    if (!apply_error.ok()) return ToGrpcStatus(apply_error);
    *response = apply_response;
    return grpc::Status::OK;
  }

  std::vector<v1::ApplyVirtualMachineRequest> applied;
  v1::ApplyVirtualMachineResponse apply_response;
  absl::Status apply_error;
};

class FakeBindings final : public v1::PasidBindingService::Service {
 public:
  grpc::Status DeletePasidBinding(grpc::ServerContext*,
                                  const v1::DeletePasidBindingRequest* request,
                                  v1::PasidBinding*) override {
    deleted.push_back(request->name());
    return grpc::Status::OK;
  }
  grpc::Status ExplainPasidBinding(grpc::ServerContext*,
                                   const v1::ExplainPasidBindingRequest* request,
                                   v1::ExplainPasidBindingResponse* response) override {
    response->mutable_pasid_binding()->set_name(request->name());
    response->set_first_unmet("PROGRAMMED");
    response->set_next_step("start the monitor");
    return grpc::Status::OK;
  }

  std::vector<std::string> deleted;
};

class FakeWatch final : public v1::WatchService::Service {
 public:
  // One stream: its events, then its end; without an end it stays open.
  struct Stream {
    std::vector<v1::WatchResponse> events;
    std::optional<grpc::Status> end;
  };

  grpc::Status Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                     grpc::ServerWriter<v1::WatchResponse>* writer) override {
    requests.push_back(*request);
    const Stream stream = streams.front();
    if (streams.size() > 1) streams.pop_front();
    for (const v1::WatchResponse& event : stream.events) writer->Write(event);
    if (stream.end.has_value()) return *stream.end;
    // A bookmark each so often, until the reader has gone.
    v1::WatchResponse bookmark;
    bookmark.set_type(v1::WatchResponse::TYPE_BOOKMARK);
    while (!context->IsCancelled() && writer->Write(bookmark))
      absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status::CANCELLED;
  }

  std::deque<Stream> streams;
  std::vector<v1::WatchRequest> requests;
};

class CommandLineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "nestorctl-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    grpc::ServerBuilder builder;
    builder.AddListeningPort(Address(), grpc::InsecureServerCredentials());
    builder.RegisterService(&hosts_);
    builder.RegisterService(&machines_);
    builder.RegisterService(&bindings_);
    builder.RegisterService(&watch_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void TearDown() override {
    server_->Shutdown(std::chrono::system_clock::now());
    std::filesystem::remove_all(directory_);
  }

  std::string Address() const { return "unix:" + directory_ + "/s"; }

  ExitCode Run(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.end(), {"--server", Address(), "--insecure", "--project", "demo"});
    in_.str(input);
    return RunCommandLine(arguments, {in_, out_, err_, false});
  }

  std::string directory_;
  FakeHosts hosts_;
  FakeMachines machines_;
  FakeBindings bindings_;
  FakeWatch watch_;
  std::unique_ptr<grpc::Server> server_;
  std::istringstream in_;
  std::ostringstream out_;
  std::ostringstream err_;
};

constexpr char kManifest[] = R"(
kind: Host
name: host-a
---
kind: VirtualMachine
name: web-1
spec: {placement: {host: host-a}}
bindings:
- {name: sva-1, spec: {pasid: 1}}
- {name: sva-2, spec: {pasid: 2}}
)";

TEST_F(CommandLineTest, GetFollowsPagesUnderOneHeader) {
  EXPECT_EQ(Run({"get", "hosts", "--state", "connected", "-l", "rack=7"}), ExitCode::kOk);
  EXPECT_EQ(hosts_.filter, "state=CONNECTED AND label.rack=7");
  EXPECT_THAT(out_.str(), HasSubstr("\nhost-a "));
  EXPECT_THAT(out_.str(), HasSubstr("\nhost-b "));
  EXPECT_EQ(out_.str().find("NAME"), out_.str().rfind("NAME"));
}

TEST_F(CommandLineTest, GetOfNamesShowsWhatExistsAndFails) {
  EXPECT_EQ(Run({"get", "host", "nope", "-o", "json"}), ExitCode::kNotFound);
  EXPECT_THAT(out_.str(), IsEmpty());
  EXPECT_THAT(err_.str(), HasSubstr("hosts/nope does not exist"));
}

TEST_F(CommandLineTest, ApplySendsAMachineWithAllItsBindingsAtOnce) {
  auto& response = machines_.apply_response;
  response.set_created(3);
  response.set_revision(6);
  EXPECT_EQ(Run({"apply", "-f", "-"}, kManifest), ExitCode::kOk);
  ASSERT_THAT(machines_.applied, SizeIs(1));
  EXPECT_THAT(machines_.applied[0].pasid_bindings(), SizeIs(2));
  EXPECT_FALSE(machines_.applied[0].validate_only());
  EXPECT_EQ(out_.str(),
            "host host-a: created\n"
            "virtual machine demo/web-1 with 2 bindings: 3 created\n"
            "created: 4 updated: 0 deleted: 0 unchanged: 0 (revision 6)\n");
}

TEST_F(CommandLineTest, ApplyThatChangesNothingReportsTheRevisionOfTheIntent) {
  auto& response = machines_.apply_response;
  response.set_unchanged(3);
  response.set_revision(900);
  *response.add_pasid_bindings() = Binding(1, v1::PasidBindingStatus::STATE_PROGRAMMED);
  EXPECT_EQ(Run({"apply", "-f", "-"}, kManifest), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("unchanged: 3 (revision 6)\n"));
}

TEST_F(CommandLineTest, DryRunChangesNothing) {
  EXPECT_EQ(Run({"apply", "-f", "-", "--dry-run", "--wait"}, kManifest), ExitCode::kOk);
  ASSERT_THAT(machines_.applied, SizeIs(1));
  EXPECT_TRUE(machines_.applied[0].validate_only());
  EXPECT_THAT(out_.str(), HasSubstr("(dry run: nothing was changed)"));
}

TEST_F(CommandLineTest, RefusedFieldIsTracedToItsLineAndTheRestIsApplied) {
  machines_.apply_error = errors::FieldInvalid("pasid_bindings[1].spec.device", "is required");
  EXPECT_EQ(Run({"apply", "-f", "-"}, kManifest), ExitCode::kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("pasid_bindings[1].spec.device: is required "
                                    "(web-1/sva-2 at <stdin>:10)"));
  EXPECT_THAT(out_.str(), HasSubstr("created: 1 updated: 0 deleted: 0 unchanged: 0 failed: 1"));
}

TEST_F(CommandLineTest, WaitEndsWhenAllAreProgrammed) {
  watch_.streams = {{{Put(Binding(1, v1::PasidBindingStatus::STATE_ACCEPTED)),
                      Put(Binding(1, v1::PasidBindingStatus::STATE_PROGRAMMED))},
                     std::nullopt}};
  EXPECT_EQ(Run({"wait", "web-1/sva-1"}), ExitCode::kOk);
  EXPECT_EQ(watch_.requests[0].parent(), kMachine);
  EXPECT_THAT(err_.str(), HasSubstr("1/1 programmed"));
}

TEST_F(CommandLineTest, WaitOutlivesABrokenWatch) {
  watch_.streams = {{{Put(Binding(1, v1::PasidBindingStatus::STATE_ACCEPTED))},
                     grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting")},
                    {{Put(Binding(1, v1::PasidBindingStatus::STATE_PROGRAMMED))}, std::nullopt}};
  EXPECT_EQ(Run({"wait", "web-1/sva-1"}), ExitCode::kOk);
  EXPECT_THAT(watch_.requests, SizeIs(2));
}

TEST_F(CommandLineTest, WaitThatRunsOutExplainsTheFirst) {
  watch_.streams = {{{Put(Binding(1, v1::PasidBindingStatus::STATE_ACCEPTED))}, std::nullopt}};
  EXPECT_EQ(Run({"wait", "web-1/sva-1", "--timeout", "300ms"}), ExitCode::kWaitTimeout);
  EXPECT_THAT(err_.str(), HasSubstr("not all programmed after 300ms"));
  EXPECT_THAT(err_.str(), HasSubstr("waiting: demo/web-1/sva-1: ACCEPTED"));
  EXPECT_THAT(err_.str(), HasSubstr("Next step:      start the monitor"));
}

TEST_F(CommandLineTest, WaitForWhatDoesNotExistIsNotFound) {
  v1::WatchResponse synced;
  synced.set_type(v1::WatchResponse::TYPE_SYNCED);
  watch_.streams = {{{synced}, std::nullopt}};
  EXPECT_EQ(Run({"wait", "web-1/sva-1"}), ExitCode::kNotFound);
}

TEST_F(CommandLineTest, ApplyWaitFailsOnAPermanentFailureAndNamesIt) {
  v1::PasidBinding failed = Binding(2, v1::PasidBindingStatus::STATE_FAILED);
  failed.mutable_status()->mutable_failure()->set_kind(v1::Failure::KIND_PERMANENT);
  failed.mutable_status()->mutable_failure()->set_reason("UNSUPPORTED");
  const v1::PasidBinding good = Binding(1, v1::PasidBindingStatus::STATE_PROGRAMMED);
  *machines_.apply_response.add_pasid_bindings() = good;
  *machines_.apply_response.add_pasid_bindings() = failed;
  watch_.streams = {{{Put(good), Put(failed)}, std::nullopt}};
  EXPECT_EQ(Run({"apply", "-f", "-", "--wait"}, kManifest), ExitCode::kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("failed: demo/web-1/sva-2: FAILED (UNSUPPORTED)"));
  EXPECT_THAT(err_.str(), Not(HasSubstr("sva-1")));
}

TEST_F(CommandLineTest, DeleteWaitEndsWhenTheBindingIsGone) {
  v1::WatchResponse gone = Put(Binding(1, v1::PasidBindingStatus::STATE_DELETING));
  gone.set_type(v1::WatchResponse::TYPE_DELETED);
  watch_.streams = {
      {{Put(Binding(1, v1::PasidBindingStatus::STATE_DELETING)), gone}, std::nullopt}};
  EXPECT_EQ(Run({"delete", "binding", "web-1/sva-1", "--wait"}), ExitCode::kOk);
  EXPECT_THAT(bindings_.deleted,
              ::testing::ElementsAre(absl::StrCat(kMachine, "/pasidBindings/sva-1")));
  EXPECT_EQ(out_.str(), "binding demo/web-1/sva-1 deletion stored\n");
  EXPECT_THAT(err_.str(), HasSubstr("1/1 gone"));
}

TEST_F(CommandLineTest, WatchResumesWhereItBroke) {
  v1::WatchResponse first = Put(Binding(1, v1::PasidBindingStatus::STATE_ACCEPTED));
  v1::WatchResponse synced;
  synced.set_type(v1::WatchResponse::TYPE_SYNCED);
  synced.set_resume_token("t1");
  watch_.streams = {{{first, synced}, grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting")},
                    {{Put(Binding(1, v1::PasidBindingStatus::STATE_PROGRAMMED))},
                     grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "enough")}};
  EXPECT_EQ(Run({"watch", "bindings"}), ExitCode::kFailed);
  ASSERT_THAT(watch_.requests, SizeIs(2));
  EXPECT_EQ(watch_.requests[1].resume_token(), "t1");
  EXPECT_THAT(out_.str(), HasSubstr("present  binding          demo/web-1/sva-1"));
  EXPECT_THAT(out_.str(), HasSubstr("changed  binding          demo/web-1/sva-1"));
}

TEST_F(CommandLineTest, WatchShowsNoOtherProject) {
  v1::PasidBinding other = Binding(1, v1::PasidBindingStatus::STATE_ACCEPTED);
  other.set_name("projects/other/virtualMachines/v/pasidBindings/b");
  watch_.streams = {{{Put(other)}, grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "enough")}};
  Run({"watch"});
  EXPECT_THAT(out_.str(), IsEmpty());
}

}  // namespace
}  // namespace nestor::cli
