#include "api/support/errors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestor {
namespace {

using ::testing::HasSubstr;

template <typename Detail>
std::optional<Detail> DetailOf(const absl::Status& status) {
  const google::rpc::Status rpc_status = ToRpcStatus(status);
  for (const auto& any : rpc_status.details()) {
    Detail detail;
    if (any.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

TEST(FieldViolations, NamesEveryFieldAndShowsTheFirst) {
  FieldViolations violations;
  violations.Add("a.b", "must be set");
  violations.Add("c", "must be positive");
  const absl::Status status = violations.ToStatus();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a.b: must be set"));
  auto bad_request = DetailOf<google::rpc::BadRequest>(status);
  ASSERT_TRUE(bad_request.has_value());
  ASSERT_EQ(bad_request->field_violations_size(), 2);
  EXPECT_EQ(bad_request->field_violations(1).field(), "c");
}

TEST(FieldViolations, EmptyIsOk) { EXPECT_TRUE(FieldViolations().ToStatus().ok()); }

TEST(FieldViolations, ThousandsAreListedBounded) {
  FieldViolations violations;
  for (int i = 0; i < 5000; ++i) violations.Add("field", "wrong");
  EXPECT_EQ(DetailOf<google::rpc::BadRequest>(violations.ToStatus())->field_violations_size(), 64);
}

TEST(Errors, CarryReasonDomainAndRetry) {
  const absl::Status status = errors::QueueFull("commit queue", absl::Milliseconds(250));
  EXPECT_EQ(ErrorReason(status), "QUEUE_FULL");
  EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(status)->domain(), "nestor.dev");
  EXPECT_EQ(DetailOf<google::rpc::RetryInfo>(status)->retry_delay().nanos(), 250'000'000);
}

TEST(Errors, SurviveTheWire) {
  const absl::Status status = errors::PasidInUse("0000:01:00.0", 5, "projects/p/x");
  EXPECT_EQ(FromRpcStatus(ToRpcStatus(status)), status);
}

TEST(ErrorReason, IsEmptyForForeignStatuses) {
  EXPECT_EQ(ErrorReason(absl::InternalError("x")), "");
  EXPECT_EQ(ErrorReason(absl::OkStatus()), "");
}

}  // namespace
}  // namespace nestor
