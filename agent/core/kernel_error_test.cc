#include "agent/core/kernel_error.h"

#include <cerrno>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::Eq;
using ::testing::IsEmpty;
using ::testing::Optional;

struct ErrnoRow {
  int error_number;
  absl::StatusCode code;
};

class KernelErrorCodeTest : public testing::TestWithParam<ErrnoRow> {};

TEST_P(KernelErrorCodeTest, FollowsErrno) {
  const KernelError error{"open", "/dev/vfio/vfio", GetParam().error_number};
  EXPECT_THAT(KernelErrorStatus(error).code(), Eq(GetParam().code));
}

INSTANTIATE_TEST_SUITE_P(Errnos, KernelErrorCodeTest,
                         testing::Values(ErrnoRow{EBUSY, absl::StatusCode::kUnavailable},
                                         ErrnoRow{EAGAIN, absl::StatusCode::kUnavailable},
                                         ErrnoRow{ENOSPC, absl::StatusCode::kResourceExhausted},
                                         ErrnoRow{ENOMEM, absl::StatusCode::kResourceExhausted},
                                         ErrnoRow{EMFILE, absl::StatusCode::kResourceExhausted},
                                         ErrnoRow{ENFILE, absl::StatusCode::kResourceExhausted},
                                         ErrnoRow{EDQUOT, absl::StatusCode::kResourceExhausted},
                                         ErrnoRow{ENOENT, absl::StatusCode::kNotFound},
                                         ErrnoRow{ENODEV, absl::StatusCode::kNotFound},
                                         ErrnoRow{EEXIST, absl::StatusCode::kAlreadyExists},
                                         ErrnoRow{EACCES, absl::StatusCode::kPermissionDenied},
                                         ErrnoRow{EPERM, absl::StatusCode::kPermissionDenied},
                                         ErrnoRow{ENOTTY, absl::StatusCode::kUnimplemented},
                                         ErrnoRow{EOPNOTSUPP, absl::StatusCode::kUnimplemented},
                                         ErrnoRow{524, absl::StatusCode::kUnimplemented},
                                         ErrnoRow{EINVAL, absl::StatusCode::kInvalidArgument},
                                         ErrnoRow{EINTR, absl::StatusCode::kAborted},
                                         ErrnoRow{EFAULT, absl::StatusCode::kInternal}));

TEST(KernelErrorTest, MessageNamesOperationObjectAndErrno) {
  const KernelError error{"VFIO_IOMMU_MAP_DMA", "0000:3b:00.0", EBUSY};
  EXPECT_THAT(KernelErrorStatus(error).message(),
              Eq("VFIO_IOMMU_MAP_DMA on 0000:3b:00.0: EBUSY (Device or resource busy)"));
}

TEST(KernelErrorTest, GivenCodeWinsOverErrno) {
  const KernelError error{"VFIO_IOMMU_MAP_DMA", "0000:3b:00.0", EBUSY};
  EXPECT_THAT(KernelErrorStatus(error, absl::StatusCode::kDataLoss).code(),
              Eq(absl::StatusCode::kDataLoss));
}

TEST(KernelErrorTest, SurvivesTheWayThroughAStatus) {
  const KernelError error{"open", "a path\nwith line\n\nbreaks", 524};
  EXPECT_THAT(GetKernelError(KernelErrorStatus(error)), Optional(error));
}

TEST(KernelErrorTest, StatusWithoutOneHasNone) {
  EXPECT_THAT(GetKernelError(absl::InternalError("no kernel involved")), Eq(std::nullopt));
  EXPECT_THAT(GetKernelError(absl::OkStatus()), Eq(std::nullopt));
}

TEST(ReasonTest, TravelsBesideTheKernelError) {
  const KernelError error{"open", "/dev/vfio/7", EBUSY};
  const absl::Status status = WithReason(KernelErrorStatus(error), "GROUP_BUSY");
  EXPECT_THAT(GetReason(status), Eq("GROUP_BUSY"));
  EXPECT_THAT(GetKernelError(status), Optional(error));
}

TEST(ReasonTest, SecondReasonReplacesTheFirst) {
  absl::Status status = WithReason(absl::InternalError("x"), "FIRST");
  EXPECT_THAT(GetReason(WithReason(status, "SECOND")), Eq("SECOND"));
}

TEST(ReasonTest, OkHasNone) {
  const absl::Status status = WithReason(absl::OkStatus(), "GROUP_BUSY");
  EXPECT_TRUE(status.ok());
  EXPECT_THAT(GetReason(status), IsEmpty());
}

TEST(WithMessageTest, ChangesCodeAndMessageOnly) {
  const KernelError error{"open", "/dev/vfio/7", EBUSY};
  const absl::Status status = WithMessage(WithReason(KernelErrorStatus(error), "GROUP_BUSY"),
                                          absl::StatusCode::kDataLoss, "lost");
  EXPECT_THAT(status.code(), Eq(absl::StatusCode::kDataLoss));
  EXPECT_THAT(status.message(), Eq("lost"));
  EXPECT_THAT(GetReason(status), Eq("GROUP_BUSY"));
  EXPECT_THAT(GetKernelError(status), Optional(error));
}

TEST(ErrnoNameTest, NamesWhatTheCLibraryKnows) {
  EXPECT_THAT(ErrnoName(EBUSY), Eq("EBUSY"));
  EXPECT_THAT(ErrnoName(524), Eq("errno 524"));
}

}  // namespace
}  // namespace nestor::agent
