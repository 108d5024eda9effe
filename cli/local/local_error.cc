#include "cli/local/local_error.h"

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "cli/field_list.h"
#include "cli/text.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace nestor::cli {
namespace {

google::rpc::BadRequest BadRequestOf(const absl::Status& status) {
  google::rpc::BadRequest bad_request;
  const google::rpc::Status typed = ToRpcStatus(status);
  for (const auto& detail : typed.details()) detail.UnpackTo(&bad_request);
  return bad_request;
}

std::string NextStep(const absl::Status& status, const std::string& reason,
                     absl::string_view address) {
  if (reason == "NOT_STANDALONE") {
    return "bind through the server (`nestorctl apply`), or run `nestor-agent --standalone`";
  }
  if (reason == "NOT_SIMULATED") return "run the agent with --kernel sim";
  if (reason == "FIELD_INVALID") return "correct the fields named above and try again";
  if (reason == "CONTENTION" || reason == "DELETING") return "run the command again";
  if (absl::IsNotFound(status) || reason == "DEVICE_IN_USE") {
    return "`nestorctl --local ADDRESS dump` shows what is held";
  }
  if (absl::IsUnavailable(status)) {
    return absl::StrCat("check that nestor-agent runs, with its --run-dir holding ", address,
                        ", as your user");
  }
  if (absl::IsDeadlineExceeded(status)) return "wait longer (--timeout), or look with `dump`";
  return "";
}

}  // namespace

std::string LocalErrorText(absl::string_view action, const absl::Status& status,
                           absl::string_view address) {
  const std::string reason = ErrorReason(status);
  const google::rpc::BadRequest bad_request = BadRequestOf(status);
  FieldList fields;
  for (const auto& violation : bad_request.field_violations()) {
    fields.Add("field", absl::StrCat(TerminalSafe(violation.field()), ": ",
                                     TerminalSafe(violation.description())));
  }
  const std::string code = absl::StatusCodeToString(status.code());
  fields.Add("reason", reason.empty() || reason == code
                           ? code
                           : absl::StrCat(code, " ", TerminalSafe(reason)));
  if (const std::string next = NextStep(status, reason, address); !next.empty()) {
    fields.Add("next", next);
  }
  return absl::StrCat("error: cannot ", action, ": ",
                      bad_request.field_violations().empty() ? TerminalSafe(status.message())
                                                             : "the agent refused it",
                      "\n", fields.ToString(2));
}

}  // namespace nestor::cli
