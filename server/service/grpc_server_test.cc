#include "server/service/grpc_server.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"

namespace nestor::server {
namespace {

// grpc.health.v1.HealthCheckResponse on the wire, with its only field.
const std::string kServing = "\x08\x01";
const std::string kNotServing = "\x08\x02";

// A stream of grpc.health.v1.Health/Watch, message by message as bytes.
class HealthWatch {
 public:
  explicit HealthWatch(const std::string& address)
      : stub_(grpc::CreateChannel(address, grpc::InsecureChannelCredentials())) {
    context_.set_wait_for_ready(true);
    context_.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(30)));
    call_ = stub_.PrepareCall(&context_, "/grpc.health.v1.Health/Watch", &queue_);
    Do([this](void* tag) { call_->StartCall(tag); });
    const grpc::Slice no_bytes;
    const grpc::ByteBuffer empty(&no_bytes, 1);
    Do([&](void* tag) { call_->WriteLast(empty, grpc::WriteOptions(), tag); });
  }
  ~HealthWatch() {
    context_.TryCancel();
    grpc::Status status;
    Do([&](void* tag) { call_->Finish(&status, tag); });
  }
  // Empty when the stream ended.
  std::string Next() {
    grpc::ByteBuffer buffer;
    if (!Do([&](void* tag) { call_->Read(&buffer, tag); })) return "";
    grpc::Slice slice;
    buffer.DumpToSingleSlice(&slice).ok();
    return std::string(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }

 private:
  bool Do(const std::function<void(void*)>& start) {
    start(this);
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  grpc::GenericStub stub_;
  grpc::CompletionQueue queue_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

class GrpcServerTest : public ::testing::Test {
 protected:
  ~GrpcServerTest() override { std::filesystem::remove(path_); }

  const std::string path_ =
      absl::StrCat(std::filesystem::temp_directory_path().string(), "/nestor-grpc-", getpid());
  const std::string address_ = "unix:" + path_;
};

TEST_F(GrpcServerTest, SaysNotServingBeforeItStops) {
  auto server = GrpcServer::Start({.address = address_, .security = {.insecure = true}});
  ASSERT_TRUE(server.ok()) << server.status();
  HealthWatch health(address_);
  EXPECT_EQ(health.Next(), kServing);
  // gRPC's own health service ends no watch by itself: the deadline does.
  std::thread drain([&] { (*server)->Drain(absl::Milliseconds(200)); });
  EXPECT_EQ(health.Next(), kNotServing);
  EXPECT_EQ(health.Next(), "");
  drain.join();
}

TEST_F(GrpcServerTest, PlaintextThatNobodyAskedForIsRefused) {
  auto server = GrpcServer::Start({.address = address_});
  EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace nestor::server
