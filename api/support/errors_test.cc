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

TEST(FieldViolations, NestedPathIsWrittenWhole) {
  FieldViolations violations;
  const FieldPath binding("pasid_binding");
  const FieldPath spec(binding, ".spec");
  violations.Add({spec, ".device"}, "must be set");
  EXPECT_THAT(std::string(violations.ToStatus().message()),
              HasSubstr("pasid_binding.spec.device: must be set"));
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

v1::Failure Failed(const std::string& reason, v1::Failure::Kind kind) {
  v1::Failure failure;
  failure.set_reason(reason);
  failure.set_kind(kind);
  failure.set_message("it did not work");
  return failure;
}

TEST(InvalidationFailed, WhatIsNotProgrammedIsAPrecondition) {
  const auto status =
      errors::InvalidationFailed("b", Failed("NOT_PROGRAMMED", v1::Failure::KIND_PERMANENT));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(status), "NOT_PROGRAMMED");
}

TEST(InvalidationFailed, HostThatHasTooManySaysWhenToTryAgain) {
  const auto status =
      errors::InvalidationFailed("b", Failed("QUEUE_FULL", v1::Failure::KIND_TRANSIENT));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

TEST(InvalidationFailed, EndedOwnerIsUnavailable) {
  const auto status =
      errors::InvalidationFailed("b", Failed("UNAVAILABLE", v1::Failure::KIND_TRANSIENT));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
}

TEST(InvalidationFailed, KernelErrorKeepsItsErrno) {
  v1::Failure failure = Failed("KERNEL_REFUSED", v1::Failure::KIND_PERMANENT);
  failure.mutable_kernel_error()->set_error_name("EINVAL");
  const auto status = errors::InvalidationFailed("b", failure);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(status), "KERNEL_REFUSED");
  EXPECT_THAT(ToRpcStatus(status).ShortDebugString(), HasSubstr("errno"));

  failure.set_kind(v1::Failure::KIND_TRANSIENT);
  EXPECT_EQ(errors::InvalidationFailed("b", failure).code(), absl::StatusCode::kUnavailable);
}

TEST(ErrorReason, IsEmptyForForeignStatuses) {
  EXPECT_EQ(ErrorReason(absl::InternalError("x")), "");
  EXPECT_EQ(ErrorReason(absl::OkStatus()), "");
}

}  // namespace
}  // namespace nestor
