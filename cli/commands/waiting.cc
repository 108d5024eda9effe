#include "cli/commands/waiting.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/describe.h"
#include "cli/names.h"
#include "cli/progress_line.h"
#include "cli/text.h"

namespace nestor::cli {
namespace {

constexpr absl::Duration kReconnectPause = absl::Milliseconds(200);
constexpr size_t kMaxListed = 20;

absl::string_view Verb(Goal goal) { return goal == Goal::kProgrammed ? "programmed" : "gone"; }

// Watches until the wait is over (OK) or the stream ends (its error).
class WaitLoop {
 public:
  WaitLoop(const Session& session, Connection& connection, WaitTracker& tracker,
           absl::Duration timeout)
      : connection_(connection),
        tracker_(tracker),
        line_(session.err(), session.err_is_terminal(), Verb(tracker.goal())),
        start_(absl::Now()),
        deadline_(start_ + timeout) {
    request_.set_parent(tracker.WatchParent());
    request_.add_kinds(v1::WatchRequest::KIND_VIRTUAL_MACHINE);
    request_.add_kinds(v1::WatchRequest::KIND_PASID_BINDING);
  }

  // DEADLINE_EXCEEDED when time ran out.
  absl::Status Run() {
    // Only a server that was there once is waited for.
    absl::Status status = WatchOnce(false);
    while (absl::IsUnavailable(status) && connected_ && absl::Now() < deadline_) {
      absl::SleepFor(kReconnectPause);
      status = WatchOnce(true);
    }
    line_.Finish(tracker_.progress(), absl::Now() - start_);
    if (connected_ && absl::IsUnavailable(status)) {
      return absl::DeadlineExceededError("the server went away and did not come back in time");
    }
    return status;
  }

 private:
  absl::Status WatchOnce(bool wait_for_ready) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline_));
    context.set_wait_for_ready(wait_for_ready);
    tracker_.BeginSnapshot();
    auto reader = connection_.watch().Watch(&context, request_);
    v1::WatchResponse event;
    while (!tracker_.progress().Over() && reader->Read(&event)) {
      connected_ = true;
      tracker_.Take(event);
      line_.Update(tracker_.progress(), absl::Now() - start_);
    }
    if (tracker_.progress().Over()) {
      context.TryCancel();
      reader->Finish();
      return absl::OkStatus();
    }
    const grpc::Status status = reader->Finish();
    const bool lost_place = status.error_code() == grpc::StatusCode::OUT_OF_RANGE;
    if (connected_ && (lost_place || StreamWasBroken(status))) {
      return absl::UnavailableError("the watch ended");
    }
    return FromGrpcStatus(status);
  }

  Connection& connection_;
  WaitTracker& tracker_;
  ProgressLine line_;
  v1::WatchRequest request_;
  const absl::Time start_;
  const absl::Time deadline_;
  bool connected_ = false;
};

void ReportUnmet(const Session& session, Connection& connection,
                 const std::vector<WaitTracker::Unmet>& unmet) {
  for (size_t i = 0; i < unmet.size() && i < kMaxListed; ++i) {
    session.err() << (unmet[i].failed ? "failed: " : "waiting: ") << ShortName(unmet[i].name, true)
                  << ": " << unmet[i].state << '\n';
  }
  if (unmet.size() > kMaxListed) {
    session.err() << "... and " << unmet.size() - kMaxListed << " more\n";
  }
  v1::ExplainPasidBindingRequest request;
  request.set_name(unmet.front().name);
  auto explanation = connection.Call(connection.bindings(),
                                     &v1::PasidBindingService::Stub::ExplainPasidBinding, request);
  // A resource that is gone or no binding has no explanation.
  if (explanation.ok()) session.err() << '\n' << Explain(*explanation);
}

}  // namespace

ExitCode WaitFor(const Session& session, Connection& connection, WaitTracker& tracker,
                 absl::Duration timeout) {
  if (tracker.progress().total == 0) return ExitCode::kOk;
  const absl::Status status = WaitLoop(session, connection, tracker, timeout).Run();
  if (!status.ok() && !absl::IsDeadlineExceeded(status)) {
    return session.CallError("watch", status);
  }
  const std::vector<WaitTracker::Unmet> unmet = tracker.NotReached();
  if (unmet.empty()) return ExitCode::kOk;
  if (!status.ok()) {
    session.err() << "error: not all " << Verb(tracker.goal()) << " after "
                  << absl::FormatDuration(timeout) << '\n';
  }
  ReportUnmet(session, connection, unmet);
  if (unmet.front().missing) return ExitCode::kNotFound;
  return unmet.front().failed ? ExitCode::kFailed : ExitCode::kWaitTimeout;
}

}  // namespace nestor::cli
