#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <vector>

#include "api/support/errors.h"
#include "server/service/service_fixture.h"

namespace nestor::server {
namespace {

using ::testing::HasSubstr;

class InvalidateCacheTest : public AgentServiceTest {
 protected:
  using Reply = absl::StatusOr<v1::InvalidateCacheResponse>;

  static v1::InvalidateCacheRequest Request(const std::string& id = "b") {
    v1::InvalidateCacheRequest request;
    request.set_name(BindingName(id));
    return request;
  }
  std::future<Reply> Start(const v1::InvalidateCacheRequest& request) {
    return std::async(std::launch::async, [this, request] {
      return Call(server_.bindings(), &Bindings::InvalidateCache, request);
    });
  }
  static v1::SyncRequest Done(int64_t id) {
    v1::SyncRequest message;
    message.mutable_results()->add_invalidations()->set_id(id);
    return message;
  }
};

TEST_F(InvalidateCacheTest, ReturnsWhenTheHostHasDoneIt) {
  const auto agent = ConnectAndProgram();
  v1::InvalidateCacheRequest request = Request();
  request.mutable_range()->set_address(0x1000);
  request.mutable_range()->set_size(0x2000);
  std::future<Reply> reply = Start(request);
  const v1::Invalidation told = agent->Read()->invalidation();
  EXPECT_EQ(told.device(), kDevice);
  EXPECT_EQ(told.pasid(), 7);
  EXPECT_EQ(told.range().address(), 0x1000);
  EXPECT_EQ(told.range().size(), 0x2000);
  EXPECT_EQ(told.fence().epoch(), 1);
  EXPECT_FALSE(told.vm_uid().empty());
  EXPECT_EQ(reply.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  agent->Send(Done(told.id()));
  EXPECT_TRUE(reply.get().ok());
}

TEST_F(InvalidateCacheTest, WholeBindingIsToldWithoutARange) {
  const auto agent = ConnectAndProgram();
  std::future<Reply> reply = Start(Request());
  const v1::Invalidation told = agent->Read()->invalidation();
  EXPECT_FALSE(told.has_range());
  agent->Send(Done(told.id()));
  EXPECT_TRUE(reply.get().ok());
}

TEST_F(InvalidateCacheTest, WrongFieldsAreRefusedByName) {
  v1::InvalidateCacheRequest request;
  request.set_name("nonsense");
  request.mutable_range()->set_address(1);
  const absl::Status status = Start(request).get().status();
  EXPECT_EQ(ErrorReason(status), "FIELD_INVALID");
  EXPECT_THAT(ToRpcStatus(status).DebugString(), HasSubstr("range.size"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("name"));

  request = Request();
  request.mutable_range()->set_address(~uint64_t{0});
  request.mutable_range()->set_size(2);
  EXPECT_EQ(ReasonOf(Start(request).get()), "FIELD_INVALID");
}

TEST_F(InvalidateCacheTest, UnknownBindingIsNotFound) {
  EXPECT_EQ(ReasonOf(Start(Request("no-such")).get()), "NOT_FOUND");
}

TEST_F(InvalidateCacheTest, HostWithoutAnAgentIsUnavailable) {
  CreateHost();
  CreateMachine();
  CreateBinding("b", 7);
  EXPECT_EQ(ReasonOf(Start(Request()).get()), "UNAVAILABLE");
}

TEST_F(InvalidateCacheTest, HostSaysThatItIsNotProgrammed) {
  const auto agent = ConnectAndProgram();
  std::future<Reply> reply = Start(Request());
  v1::SyncRequest answer = Done(agent->Read()->invalidation().id());
  v1::Failure& failure = *answer.mutable_results()->mutable_invalidations(0)->mutable_failure();
  failure.set_kind(v1::Failure::KIND_PERMANENT);
  failure.set_reason("NOT_PROGRAMMED");
  agent->Send(answer);
  EXPECT_EQ(ReasonOf(reply.get()), "NOT_PROGRAMMED");
}

TEST_F(InvalidateCacheTest, EndOfTheSessionEndsTheCall) {
  auto agent = ConnectAndProgram();
  std::future<Reply> reply = Start(Request());
  ASSERT_TRUE(agent->Read()->has_invalidation());
  agent.reset();
  EXPECT_EQ(ReasonOf(reply.get()), "UNAVAILABLE");
}

TEST_F(InvalidateCacheTest, DrainingServerEndsTheCall) {
  const auto agent = ConnectAndProgram();
  std::future<Reply> reply = Start(Request());
  ASSERT_TRUE(agent->Read()->has_invalidation());
  server_.api().End();
  EXPECT_EQ(ReasonOf(reply.get()), "UNAVAILABLE");
}

TEST_F(InvalidateCacheTest, CallEndsAtItsDeadlineAndItsAnswerIsStillTakenIn) {
  const auto agent = ConnectAndProgram();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  v1::InvalidateCacheResponse response;
  EXPECT_EQ(server_.bindings().InvalidateCache(&context, Request(), &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  const v1::Invalidation late = agent->Read()->invalidation();
  std::future<Reply> reply = Start(Request());
  const v1::Invalidation told = agent->Read()->invalidation();
  EXPECT_NE(told.id(), late.id());
  agent->Send(Done(late.id()));
  agent->Send(Done(told.id()));
  EXPECT_TRUE(reply.get().ok());
}

TEST_F(InvalidateCacheTest, AnswerThatNobodyWaitsForEndsTheSession) {
  const auto agent = ConnectAndProgram();
  agent->Send(Done(17));
  EXPECT_EQ(ErrorReason(agent->End()), "PROTOCOL_ERROR");
}

TEST_F(InvalidateCacheTest, OneMoreThanAHostMayHaveIsRefused) {
  const auto agent = ConnectAndProgram();
  std::vector<std::promise<absl::Status>> waiting(Invalidations::kMaxInFlight + 1);
  for (auto& outcome : waiting) {
    server_.sessions().Invalidate(Request(),
                                  [&](absl::Status status) { outcome.set_value(status); });
  }
  EXPECT_EQ(ErrorReason(waiting.back().get_future().get()), "QUEUE_FULL");
  waiting.pop_back();
  for (size_t i = 0; i < waiting.size(); ++i) {
    agent->Send(Done(agent->Read()->invalidation().id()));
  }
  for (auto& outcome : waiting) EXPECT_TRUE(outcome.get_future().get().ok());
}

}  // namespace
}  // namespace nestor::server
