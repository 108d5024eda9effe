#include "cli/error_text.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "api/support/errors.h"
#include "cli/exit_code.h"
#include "cli/field_list.h"
#include "cli/text.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace nestor::cli {
namespace {

// The typed details of an error that people can use.
struct Details {
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad_request;
  google::rpc::RetryInfo retry;
  bool has_retry = false;
};

Details Unpack(const absl::Status& status) {
  Details details;
  const google::rpc::Status typed = ToRpcStatus(status);
  for (const google::protobuf::Any& detail : typed.details()) {
    detail.UnpackTo(&details.info);
    detail.UnpackTo(&details.bad_request);
    if (detail.UnpackTo(&details.retry)) details.has_retry = true;
  }
  return details;
}

// A command that shows what exists beside the missing `resource`.
std::string ListCommand(absl::string_view resource) {
  if (absl::StrContains(resource, "/pasidBindings/")) return "nestorctl get bindings -A";
  if (absl::StrContains(resource, "/devices/")) return "nestorctl get devices";
  if (absl::StartsWith(resource, "hosts/")) return "nestorctl get hosts";
  return "nestorctl get vms -A";
}

struct NextStep {
  absl::string_view reason;
  absl::string_view text;
};

// For the reasons of the catalogue (api/support/errors.h) that a person can act on. NAME stands
// for the resource that the error speaks of.
constexpr NextStep kNextSteps[] = {
    {"FIELD_INVALID", "correct the fields named above and try again"},
    {"ALREADY_EXISTS", "use `nestorctl apply` to change what exists"},
    {"PASID_IN_USE", "choose another pasid, or `anyOf` to have one picked"},
    {"ETAG_MISMATCH", "somebody else changed it meanwhile: run the command again"},
    {"CONTENTION", "run the command again"},
    {"HOST_UNKNOWN", "declare the host (kind: Host), or see `nestorctl get hosts`"},
    {"HOST_CORDONED", "place it on another host, or apply the host with `cordoned: false`"},
    {"HOST_CONNECTED",
     "stop the host's nestor-agent first; `nestorctl fence-host --force` is for a host that is cut "
     "off by other means"},
    {"HOST_DRAINING", "choose another host, or `nestorctl undrain-host HOST`"},
    {"HOST_FENCED",
     "choose another host, or start the host's nestor-agent: it lifts the fence once it holds "
     "nothing"},
    {"HAS_CHILDREN",
     "delete what it holds first; `nestorctl delete vm --force` takes the bindings with it"},
    {"DEVICE_IN_USE", "`nestorctl get devices` shows who uses which device"},
    {"DEVICE_NOT_OWNED", "add the device to the machine's spec.placement.devices"},
    {"DEVICE_UNSUITABLE", "`nestorctl get devices -o wide` says what each device lacks"},
    {"DELETING", "wait until it is gone: `nestorctl wait NAME --for absent`"},
    {"MOVING",
     "`nestorctl describe vm` shows the host that it leaves; if that is dead, `nestorctl "
     "fence-host`"},
    {"BINDING_FAILED", "`nestorctl explain NAME` says why and what to do"},
    {"NOT_PROGRAMMED", "`nestorctl explain NAME` says what it waits for"},
    {"PASID_SPACE_FULL", "widen `anyOf`, or delete bindings of the device"},
    {"REVISION_COMPACTED", "run the command again: it starts from a new snapshot"},
};

// Empty where the error names none.
std::string ResourceOf(const Details& details) {
  auto resource = details.info.metadata().find("resource");
  return resource == details.info.metadata().end() ? "" : TerminalSafe(resource->second);
}

// Whether a server was there, but the two could not agree on how to speak. A server ends the
// connection of a client whose certificate it does not like without a word.
bool IsTlsFailure(const absl::Status& status) {
  return absl::IsUnavailable(status) && absl::StrContains(status.message(), "failed to connect") &&
         (absl::StrContains(status.message(), "handshake failed") ||
          absl::StrContains(status.message(), "Socket closed"));
}

std::string NextStepText(const absl::Status& status, const Details& details,
                         absl::string_view server) {
  const std::string resource = ResourceOf(details);
  for (const NextStep& step : kNextSteps) {
    if (step.reason != details.info.reason()) continue;
    return absl::StrReplaceAll(step.text, {{"NAME", resource.empty() ? "NAME" : resource}});
  }
  if (absl::IsNotFound(status)) {
    return absl::StrCat("`", ListCommand(resource), "` shows what exists");
  }
  if (IsTlsFailure(status)) {
    return absl::StrCat("check that nestor-server speaks TLS on ", server,
                        " as you do, or plaintext; its log says why it refused a certificate");
  }
  if (ExitCodeOf(status) == ExitCode::kUnreachable) {
    return absl::StrCat("check that nestor-server runs and listens on ", server,
                        "; --server or NESTOR_SERVER names another");
  }
  if (absl::IsUnimplemented(status)) {
    return absl::StrCat("use a nestorctl and a nestor-server of one version, and see that ", server,
                        " is the server's --listen address");
  }
  return "";
}

std::string FieldText(const google::rpc::BadRequest::FieldViolation& violation,
                      const FieldLocator& locate) {
  const std::string place = locate ? locate(violation.field()) : "";
  return absl::StrCat(TerminalSafe(violation.field()), ": ", TerminalSafe(violation.description()),
                      place.empty() ? "" : absl::StrCat(" (", place, ")"));
}

// "FAILED_PRECONDITION DEVICE_IN_USE"; the code alone where the reason says no more.
std::string ReasonText(const absl::Status& status, const std::string& reason) {
  const std::string code = absl::StatusCodeToString(status.code());
  return reason.empty() || reason == code ? code : absl::StrCat(code, " ", TerminalSafe(reason));
}

// The message, its further lines indented.
std::string MessageText(const absl::Status& status) {
  if (absl::IsDeadlineExceeded(status) && ErrorReason(status).empty()) {
    return "the server did not answer in time (--timeout)";
  }
  std::string text;
  for (absl::string_view line : absl::StrSplit(status.message(), '\n')) {
    absl::StrAppend(&text, text.empty() ? "" : "\n  ", TerminalSafe(line));
  }
  return text;
}

}  // namespace

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kOk;
    case absl::StatusCode::kNotFound:
      return ExitCode::kNotFound;
    case absl::StatusCode::kUnavailable:
      return ExitCode::kUnreachable;
    case absl::StatusCode::kDeadlineExceeded:
      return ErrorReason(status) == "WAIT_TIMEOUT" ? ExitCode::kWaitTimeout
                                                   : ExitCode::kUnreachable;
    default:
      return ExitCode::kFailed;
  }
}

std::string ErrorText(absl::string_view action, const absl::Status& status,
                      absl::string_view server, const FieldLocator& locate) {
  const Details details = Unpack(status);
  const auto& violations = details.bad_request.field_violations();
  FieldList fields;
  for (const auto& violation : violations) fields.Add("field", FieldText(violation, locate));
  fields.Add("reason", ReasonText(status, details.info.reason()));
  if (details.has_retry)
    fields.Add("retry", absl::StrCat("after ", DurationText(details.retry.retry_delay())));
  const std::string next = NextStepText(status, details, server);
  if (!next.empty()) fields.Add("next", next);
  return absl::StrCat("error: cannot ", action, ": ",
                      violations.empty() ? MessageText(status) : "the server refused it", "\n",
                      fields.ToString(2));
}

}  // namespace nestor::cli
