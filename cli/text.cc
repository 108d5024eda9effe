#include "cli/text.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "api/support/proto_time.h"

namespace nestor::cli {
namespace {

using google::protobuf::util::TimeUtil;

bool IsUnset(const google::protobuf::Timestamp& time) {
  return time.seconds() == 0 && time.nanos() == 0;
}

}  // namespace

std::string TerminalSafe(absl::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f) {
      absl::StrAppendFormat(&safe, "\\x%02x", byte);
    } else {
      safe += c;
    }
  }
  return safe;
}

std::string TimeText(const google::protobuf::Timestamp& time) {
  if (IsUnset(time)) return "-";
  return absl::FormatTime("%Y-%m-%d %H:%M:%E3S UTC", FromTimestamp(time), absl::UTCTimeZone());
}

std::string AgeText(const google::protobuf::Timestamp& time, absl::Time now) {
  if (IsUnset(time)) return "-";
  const int64_t seconds = std::max<int64_t>(0, absl::ToInt64Seconds(now - FromTimestamp(time)));
  if (seconds < 2 * 60) return absl::StrCat(seconds, "s");
  if (seconds < 2 * 3600) return absl::StrCat(seconds / 60, "m");
  if (seconds < 48 * 3600) return absl::StrCat(seconds / 3600, "h");
  return absl::StrCat(seconds / (24 * 3600), "d");
}

std::string DurationText(const google::protobuf::Duration& duration) {
  return absl::FormatDuration(absl::Nanoseconds(TimeUtil::DurationToNanoseconds(duration)));
}

std::string AddressText(uint64_t address) {
  return address == 0 ? "-" : absl::StrFormat("0x%x", address);
}

std::string OrDash(absl::string_view text) { return text.empty() ? "-" : TerminalSafe(text); }

std::string TargetText(const v1::PasidBindingSpec& spec) {
  switch (spec.target_case()) {
    case v1::PasidBindingSpec::kRid:
      return "rid";
    case v1::PasidBindingSpec::kPasid:
      return absl::StrCat("pasid ", spec.pasid());
    case v1::PasidBindingSpec::kAnyOf:
      return absl::StrCat("any of ", spec.any_of().first(), "-", spec.any_of().last());
    case v1::PasidBindingSpec::TARGET_NOT_SET:
      return "-";
  }
  return "-";
}

std::string KernelErrorText(const v1::KernelError& error) {
  const std::string name = error.error_name().empty() ? absl::StrCat("errno ", error.error_number())
                                                      : TerminalSafe(error.error_name());
  return absl::StrCat(name, " from ", TerminalSafe(error.operation()), " on ",
                      TerminalSafe(error.object()));
}

}  // namespace nestor::cli
