#include "agent/core/kernel_error.h"

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace nestor::agent {
namespace {

constexpr absl::string_view kKernelErrorPayload = "nestor.dev/kernel_error";
constexpr absl::string_view kReasonPayload = "nestor.dev/reason";

// The kernel's own ENOTSUPP, which no C library names; some drivers let it out.
constexpr int kKernelInternalNotSupported = 524;

absl::StatusCode CodeOf(int error_number) {
  switch (error_number) {
    case EBUSY:
    case EAGAIN:
      return absl::StatusCode::kUnavailable;
    case ENOSPC:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EDQUOT:
      return absl::StatusCode::kResourceExhausted;
    case ENOENT:
    case ENODEV:
      return absl::StatusCode::kNotFound;
    case EEXIST:
      return absl::StatusCode::kAlreadyExists;
    case EACCES:
    case EPERM:
      return absl::StatusCode::kPermissionDenied;
    case ENOTTY:
    case EOPNOTSUPP:
    case kKernelInternalNotSupported:
      return absl::StatusCode::kUnimplemented;
    case EINVAL:
      return absl::StatusCode::kInvalidArgument;
    case EINTR:
      return absl::StatusCode::kAborted;
    default:
      return absl::StatusCode::kInternal;
  }
}

// strerror is not thread-safe.
const char* Describe(int error_number) {
  const char* description = strerrordesc_np(error_number);
  return description != nullptr ? description : "no description";
}

// One line each of errno and operation, then the object, which may hold anything.
std::string Encode(const KernelError& error) {
  return absl::StrCat(error.error_number, "\n", error.operation, "\n", error.object);
}

std::optional<KernelError> Decode(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits('\n', 2));
  KernelError error;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &error.error_number)) return std::nullopt;
  error.operation = parts[1];
  error.object = parts[2];
  return error;
}

}  // namespace

absl::Status KernelErrorStatus(const KernelError& error) {
  return KernelErrorStatus(error, CodeOf(error.error_number));
}

absl::Status KernelErrorStatus(const KernelError& error, absl::StatusCode code) {
  absl::Status status(
      code, absl::StrCat(error.operation, " on ", error.object, ": ", ErrnoName(error.error_number),
                         " (", Describe(error.error_number), ")"));
  status.SetPayload(kKernelErrorPayload, absl::Cord(Encode(error)));
  return status;
}

std::optional<KernelError> GetKernelError(const absl::Status& status) {
  const auto payload = status.GetPayload(kKernelErrorPayload);
  if (!payload.has_value()) return std::nullopt;
  return Decode(std::string(*payload));
}

absl::Status WithReason(absl::Status status, absl::string_view reason) {
  status.SetPayload(kReasonPayload, absl::Cord(reason));
  return status;
}

std::string GetReason(const absl::Status& status) {
  const auto payload = status.GetPayload(kReasonPayload);
  return payload.has_value() ? std::string(*payload) : std::string();
}

absl::Status WithMessage(const absl::Status& status, absl::StatusCode code,
                         absl::string_view message) {
  absl::Status result(code, message);
  status.ForEachPayload([&result](absl::string_view type, const absl::Cord& payload) {
    result.SetPayload(type, payload);
  });
  return result;
}

std::string ErrnoName(int error_number) {
  const char* name = strerrorname_np(error_number);
  return name != nullptr ? std::string(name) : absl::StrCat("errno ", error_number);
}

}  // namespace nestor::agent
