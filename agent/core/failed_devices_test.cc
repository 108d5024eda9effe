#include "agent/core/failed_devices.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::Ge;
using ::testing::IsEmpty;
using ::testing::IsNull;

constexpr char kA[] = "0000:3b:00.0";
constexpr char kB[] = "0000:3c:00.0";
const absl::Status kFailed = absl::UnavailableError("it failed");

class FailedDevicesTest : public ::testing::Test {
 protected:
  const absl::Time start_ = absl::FromUnixSeconds(1000);
  FailedDevices failed_{{.first = absl::Seconds(10), .longest = absl::Seconds(40)}};
};

TEST_F(FailedDevicesTest, SuccessForgetsTheDevice) {
  failed_.Take(kA, kFailed, start_);
  EXPECT_THAT(failed_.Find(kA)->status, Eq(kFailed));
  failed_.Take(kA, absl::OkStatus(), start_);
  EXPECT_THAT(failed_.Find(kA), IsNull());
  EXPECT_THAT(failed_.NextRetry(), Eq(std::nullopt));
}

TEST_F(FailedDevicesTest, EachFailureWaitsLongerUpToABound) {
  absl::Duration waited;
  for (int attempt = 1; attempt <= 10; ++attempt) {
    failed_.Take(kA, kFailed, start_);
    const absl::Duration wait = failed_.Find(kA)->retry_at - start_;
    if (attempt <= 3) {
      EXPECT_THAT(wait, Ge(waited));
    }
    EXPECT_LE(wait, absl::Seconds(40));
    waited = wait;
  }
  EXPECT_GE(waited, absl::Seconds(32));
}

TEST_F(FailedDevicesTest, DueAreThoseWhoseTimeHasCome) {
  failed_.Take(kA, kFailed, start_);
  failed_.Take(kB, kFailed, start_ + absl::Seconds(5));
  EXPECT_THAT(failed_.Due(start_), IsEmpty());
  EXPECT_THAT(failed_.Due(*failed_.NextRetry()), ElementsAre(kA));
  EXPECT_THAT(failed_.Due(start_ + absl::Seconds(15)), ElementsAre(kA, kB));
  failed_.Erase(kA);
  EXPECT_THAT(failed_.Due(start_ + absl::Seconds(15)), ElementsAre(kB));
}

}  // namespace
}  // namespace nestor::agent
