#include "api/support/proto_time.h"

#include <gtest/gtest.h>

namespace nestor {
namespace {

TEST(ProtoTime, TimestampKeepsNanoseconds) {
  const auto timestamp = ToTimestamp(absl::FromUnixNanos(1'700'000'000'123'456'789));
  EXPECT_EQ(timestamp.seconds(), 1'700'000'000);
  EXPECT_EQ(timestamp.nanos(), 123'456'789);
}

TEST(ProtoTime, TimestampBeforeTheEpochHasPositiveNanoseconds) {
  const auto timestamp = ToTimestamp(absl::FromUnixNanos(-1));
  EXPECT_EQ(timestamp.seconds(), -1);
  EXPECT_EQ(timestamp.nanos(), 999'999'999);
}

TEST(ProtoTime, NegativeDurationHasBothPartsNegative) {
  const auto duration = ToProtoDuration(absl::Milliseconds(-1500));
  EXPECT_EQ(duration.seconds(), -1);
  EXPECT_EQ(duration.nanos(), -500'000'000);
}

TEST(ProtoTime, ComesBackUnchanged) {
  for (const int64_t nanos : {int64_t{0}, int64_t{-1}, int64_t{1'700'000'000'123'456'789}}) {
    const absl::Time time = absl::FromUnixNanos(nanos);
    EXPECT_EQ(FromTimestamp(ToTimestamp(time)), time);
    EXPECT_EQ(FromProtoDuration(ToProtoDuration(absl::Nanoseconds(nanos))),
              absl::Nanoseconds(nanos));
  }
}

}  // namespace
}  // namespace nestor
