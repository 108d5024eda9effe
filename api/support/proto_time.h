// Abseil's times as Protobuf's, and the way back.
#pragma once

#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace nestor {

// To the nanosecond, rounded down. `time` is within the years 1678 to 2261.
google::protobuf::Timestamp ToTimestamp(absl::Time time);

// To the nanosecond, rounded towards zero. `duration` is at most 292 years long.
google::protobuf::Duration ToProtoDuration(absl::Duration duration);

// The way back, exact.
absl::Time FromTimestamp(const google::protobuf::Timestamp& time);
absl::Duration FromProtoDuration(const google::protobuf::Duration& duration);

}  // namespace nestor
