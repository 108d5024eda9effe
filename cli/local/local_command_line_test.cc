// nestorctl --local against a scripted agent.
#include "cli/local/local_command_line.h"

#include <gmock/gmock.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "api/support/errors.h"
#include "api/support/grpc_status.h"
#include "nestor/v1/local_agent_service.grpc.pb.h"

namespace nestor::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class FakeAgent final : public v1::LocalAgentService::Service {
 public:
  grpc::Status CheckHost(grpc::ServerContext*, const v1::CheckHostRequest* request,
                         v1::CheckHostResponse* response) override {
    check = *request;
    for (const std::string& device : request->devices()) {
      response->mutable_check()->add_devices()->set_device(device);
    }
    return grpc::Status::OK;
  }
  grpc::Status Bind(grpc::ServerContext*, const v1::BindRequest* request,
                    v1::BindResponse* response) override {
    bind = *request;
    *response = bind_response;
    return ToGrpcStatus(bind_status);
  }
  grpc::Status Unbind(grpc::ServerContext*, const v1::UnbindRequest* request,
                      v1::UnbindResponse*) override {
    unbind = *request;
    return grpc::Status::OK;
  }
  grpc::Status DmaTest(grpc::ServerContext*, const v1::DmaTestRequest* request,
                       v1::DmaTestResponse* response) override {
    dma_test = *request;
    if (request->pasid() == 8) response->mutable_fault()->set_reason_name("PASID_INVALID");
    response->set_data("hello");
    return grpc::Status::OK;
  }

  v1::CheckHostRequest check;
  v1::BindRequest bind;
  v1::BindResponse bind_response;
  absl::Status bind_status;
  v1::UnbindRequest unbind;
  v1::DmaTestRequest dma_test;
};

class LocalCommandLineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "nestorctl-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    grpc::ServerBuilder builder;
    builder.AddListeningPort(Address(), grpc::InsecureServerCredentials());
    builder.RegisterService(&agent_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void TearDown() override {
    server_->Shutdown(std::chrono::system_clock::now());
    std::filesystem::remove_all(directory_);
  }

  std::string Address() const { return "unix:" + directory_ + "/s"; }

  ExitCode Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--local", Address(), "--project", "demo"});
    return RunLocalCommandLine(arguments, out_, err_);
  }

  std::string directory_;
  FakeAgent agent_;
  std::unique_ptr<grpc::Server> server_;
  std::ostringstream out_;
  std::ostringstream err_;
};

TEST(IsLocalTest, KnowsBothSpellings) {
  EXPECT_TRUE(IsLocal({"check", "--local", "unix:/x"}));
  EXPECT_TRUE(IsLocal({"--local=unix:/x", "check"}));
  EXPECT_FALSE(IsLocal({"get", "hosts", "--locally"}));
}

TEST_F(LocalCommandLineTest, BindSendsWhatWasTyped) {
  agent_.bind_response.mutable_result()->set_outcome(v1::Result::OUTCOME_PROGRAMMED);
  EXPECT_EQ(Run({"bind", "web-1", "0000:01:00.0", "7", "0x100000", "--address-width", "57",
                 "--wait", "--trace", "--allow-translation-gap"}),
            ExitCode::kOk);
  EXPECT_EQ(agent_.bind.virtual_machine(), "projects/demo/virtualMachines/web-1");
  EXPECT_EQ(agent_.bind.device(), "0000:01:00.0");
  EXPECT_EQ(agent_.bind.pasid(), 7u);
  EXPECT_EQ(agent_.bind.page_table().format(), v1::PageTable::FORMAT_VTD_S1);
  EXPECT_EQ(agent_.bind.page_table().root(), 0x100000u);
  EXPECT_EQ(agent_.bind.page_table().address_width(), 57u);
  EXPECT_TRUE(agent_.bind.wait());
  EXPECT_TRUE(agent_.bind.trace());
  EXPECT_TRUE(agent_.bind.allow_translation_gap());
  EXPECT_EQ(out_.str(), "PASID 7 of 0000:01:00.0: PROGRAMMED\n");
}

TEST_F(LocalCommandLineTest, TraceGoesToTheErrorStream) {
  agent_.bind_response.mutable_result()->set_outcome(v1::Result::OUTCOME_PROGRAMMED);
  v1::KernelCall& call = *agent_.bind_response.mutable_trace()->add_calls();
  call.set_call("ioctl");
  call.set_operation("VFIO_SET_IOMMU(6)");
  EXPECT_EQ(Run({"bind", "web-1", "0000:01:00.0", "7", "0x1000", "--trace"}), ExitCode::kOk);
  EXPECT_EQ(err_.str(), "VFIO_SET_IOMMU(6) = 0\n");
}

TEST_F(LocalCommandLineTest, FailedBindingIsAFailure) {
  agent_.bind_response.mutable_result()->set_outcome(v1::Result::OUTCOME_FAILED);
  EXPECT_EQ(Run({"bind", "web-1", "0000:01:00.0", "7", "0x1000"}), ExitCode::kFailed);
}

TEST_F(LocalCommandLineTest, RefusalIsShownWithItsReason) {
  agent_.bind_status = errors::NotStandalone();
  EXPECT_EQ(Run({"bind", "web-1", "0000:01:00.0", "7", "0x1000"}), ExitCode::kFailed);
  EXPECT_THAT(out_.str(), IsEmpty());
  EXPECT_THAT(err_.str(), HasSubstr("FAILED_PRECONDITION NOT_STANDALONE"));
}

TEST_F(LocalCommandLineTest, UnbindTakesABindingOrAMachine) {
  EXPECT_EQ(Run({"unbind", "web-1", "0000:01:00.0", "7"}), ExitCode::kOk);
  EXPECT_EQ(agent_.unbind.pasid(), 7u);
  EXPECT_EQ(out_.str(), "PASID 7 of 0000:01:00.0: gone\n");
  EXPECT_EQ(Run({"unbind", "web-1"}), ExitCode::kOk);
  EXPECT_THAT(agent_.unbind.device(), IsEmpty());
}

TEST_F(LocalCommandLineTest, DmaFaultIsAFailure) {
  EXPECT_EQ(Run({"dma-test", "0000:01:00.0", "7", "0x7f0000000000", "--size", "5"}), ExitCode::kOk);
  EXPECT_EQ(agent_.dma_test.address(), 0x7f0000000000u);
  EXPECT_EQ(agent_.dma_test.size(), 5u);
  EXPECT_THAT(out_.str(), HasSubstr("|hello|"));
  EXPECT_EQ(Run({"dma-test", "0000:01:00.0", "8", "0"}), ExitCode::kFailed);
  EXPECT_THAT(out_.str(), HasSubstr("fault PASID_INVALID"));
}

TEST_F(LocalCommandLineTest, CheckHasTheExitCodesOfTheAgents) {
  EXPECT_EQ(static_cast<int>(Run({"check"})), 3);
  EXPECT_EQ(static_cast<int>(Run({"check", "0000:01:00.0", "--guest-memory", "2GiB"})), 1);
  EXPECT_EQ(agent_.check.guest_memory_bytes(), uint64_t{2} << 30);
}

TEST_F(LocalCommandLineTest, JsonIsTheWholeAnswer) {
  EXPECT_EQ(Run({"dma-test", "0000:01:00.0", "7", "0", "-o", "json"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), StartsWith("{"));
  EXPECT_THAT(out_.str(), HasSubstr("\"data\": \"aGVsbG8=\""));
}

TEST_F(LocalCommandLineTest, WrongUsageSendsNothing) {
  EXPECT_EQ(Run({"bind", "web-1"}), ExitCode::kUsage);
  EXPECT_EQ(Run({"bind", "Web 1", "0000:01:00.0", "7", "0x1000"}), ExitCode::kUsage);
  EXPECT_EQ(Run({"frobnicate"}), ExitCode::kUsage);
  EXPECT_EQ(RunLocalCommandLine({"dump", "--local", "10.0.0.1:80"}, out_, err_), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("no socket of this machine"));
  EXPECT_THAT(agent_.bind.virtual_machine(), IsEmpty());
}

TEST_F(LocalCommandLineTest, AgentThatIsNotThereIsUnreachable) {
  EXPECT_EQ(RunLocalCommandLine({"dump", "--local", "unix:" + directory_ + "/none"}, out_, err_),
            ExitCode::kUnreachable);
  EXPECT_THAT(err_.str(), HasSubstr("check that nestor-agent runs"));
}

TEST_F(LocalCommandLineTest, HelpIsOnTheOutput) {
  EXPECT_EQ(Run({"--help"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("--standalone"));
}

}  // namespace
}  // namespace nestor::cli
