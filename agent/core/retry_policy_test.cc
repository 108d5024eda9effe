#include "agent/core/retry_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <ostream>

#include "agent/core/kernel_error.h"

namespace nestor::agent {

void PrintTo(const FailureClass& what, std::ostream* out) {
  *out << (what.transient ? "transient " : "permanent ") << what.reason;
}

namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::Le;

absl::Status Errno(int error_number) {
  return KernelErrorStatus({"VFIO_IOMMU_NESTING_OP(BIND_PGTBL)", "0000:3b:00.0", error_number});
}

struct Row {
  std::string name;
  absl::Status status;
  FailureClass expected;
};

void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

class ClassifyTest : public ::testing::TestWithParam<Row> {};

TEST_P(ClassifyTest, GivesKindAndReason) {
  EXPECT_EQ(Classify(GetParam().status), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(
    Errnos, ClassifyTest,
    ::testing::Values(Row{"EBUSY", Errno(EBUSY), {true, "KERNEL_BUSY"}},
                      Row{"EAGAIN", Errno(EAGAIN), {true, "KERNEL_BUSY"}},
                      Row{"EINTR", Errno(EINTR), {true, "KERNEL_BUSY"}},
                      Row{"ENOMEM", Errno(ENOMEM), {true, "HOST_OUT_OF_MEMORY"}},
                      Row{"ENOSPC", Errno(ENOSPC), {true, "PASID_TAKEN_ON_HOST"}},
                      Row{"EMFILE", Errno(EMFILE), {true, "HOST_OUT_OF_DESCRIPTORS"}},
                      Row{"ENFILE", Errno(ENFILE), {true, "HOST_OUT_OF_DESCRIPTORS"}},
                      Row{"EINVAL", Errno(EINVAL), {false, "KERNEL_REFUSED"}},
                      Row{"EFAULT", Errno(EFAULT), {false, "KERNEL_REFUSED"}},
                      Row{"ENODEV", Errno(ENODEV), {false, "DEVICE_GONE"}},
                      Row{"ENOENT", Errno(ENOENT), {false, "DEVICE_GONE"}},
                      Row{"ENOTTY", Errno(ENOTTY), {false, "UNSUPPORTED"}},
                      Row{"EOPNOTSUPP", Errno(EOPNOTSUPP), {false, "UNSUPPORTED"}},
                      Row{"ENOTSUPP", Errno(524), {false, "UNSUPPORTED"}},
                      Row{"EACCES", Errno(EACCES), {false, "PERMISSION"}},
                      Row{"EPERM", Errno(EPERM), {false, "PERMISSION"}},
                      Row{"unforeseen", Errno(EIO), {true, "KERNEL_ERROR"}}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Codes, ClassifyTest,
    ::testing::Values(
        Row{"UNAVAILABLE", absl::UnavailableError(""), {true, "UNAVAILABLE"}},
        Row{"ABORTED", absl::AbortedError(""), {true, "UNAVAILABLE"}},
        Row{"RESOURCE_EXHAUSTED", absl::ResourceExhaustedError(""), {true, "PASID_TAKEN_ON_HOST"}},
        Row{"INVALID_ARGUMENT", absl::InvalidArgumentError(""), {false, "FIELD_INVALID"}},
        Row{"FAILED_PRECONDITION", absl::FailedPreconditionError(""), {false, "DEVICE_UNSUITABLE"}},
        Row{"NOT_FOUND", absl::NotFoundError(""), {false, "DEVICE_GONE"}},
        Row{"UNIMPLEMENTED", absl::UnimplementedError(""), {false, "UNSUPPORTED"}},
        Row{"PERMISSION_DENIED", absl::PermissionDeniedError(""), {false, "PERMISSION"}},
        Row{"unforeseen", absl::DataLossError(""), {true, "KERNEL_ERROR"}}),
    [](const auto& row) { return row.param.name; });

TEST(ClassificationTest, ErrnoDecidesBeforeTheCode) {
  const absl::Status status =
      KernelErrorStatus({"open", "/dev/vfio/7", EBUSY}, absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Classify(status), (FailureClass{true, "KERNEL_BUSY"}));
}

TEST(ClassificationTest, ReasonOfTheStatusComesFirst) {
  EXPECT_EQ(Classify(WithReason(Errno(ENOSPC), "PASID_QUOTA")),
            (FailureClass{true, "PASID_QUOTA"}));
}

TEST(DelayTest, DoublesFromFirstToLongestLessAtMostAFifth) {
  const Backoff backoff;
  const int64_t nominal_ms[] = {100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};
  for (int64_t attempts = 1; attempts <= 11; ++attempts) {
    for (uint64_t seed = 0; seed < 100; ++seed) {
      const absl::Duration nominal = absl::Milliseconds(nominal_ms[attempts - 1]);
      EXPECT_THAT(Delay(backoff, attempts, seed), AllOf(Ge(nominal * 4 / 5), Le(nominal)));
    }
  }
}

TEST(DelayTest, ManyAttemptsDoNotOverflow) {
  EXPECT_THAT(Delay({}, int64_t{1} << 40, 0), AllOf(Ge(absl::Seconds(24)), Le(absl::Seconds(30))));
}

TEST(DelayTest, SameSeedGivesTheSameDelayAndOthersDiffer) {
  EXPECT_EQ(Delay({}, 3, 7), Delay({}, 3, 7));
  EXPECT_NE(Delay({}, 3, 7), Delay({}, 3, 8));
}

TEST(DecideRetryTest, TransientFailureIsRetriedAfterTheDelay) {
  const absl::Time now = absl::FromUnixSeconds(1000);
  EXPECT_EQ(DecideRetry({}, Errno(EBUSY), 2, 7, now),
            (RetryDecision{"KERNEL_BUSY", now + Delay({}, 2, 7)}));
}

TEST(DecideRetryTest, PermanentFailureIsNot) {
  EXPECT_EQ(DecideRetry({}, Errno(EINVAL), 1, 7, absl::FromUnixSeconds(1000)),
            (RetryDecision{"KERNEL_REFUSED", std::nullopt}));
}

}  // namespace
}  // namespace nestor::agent
