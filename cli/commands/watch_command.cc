#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "api/support/errors.h"
#include "cli/commands/commands.h"
#include "cli/message_text.h"
#include "cli/names.h"
#include "cli/watch_event.h"

namespace nestor::cli {
namespace {

constexpr absl::Duration kReconnectPause = absl::Milliseconds(500);

constexpr char kFooter[] =
    R"(First what is there, then each change, until interrupted or for --timeout. Hosts belong to
no project and are shown whatever the project. A broken stream is resumed.

Examples:
  nestorctl watch
  nestorctl watch bindings --vm web-1
  nestorctl watch vms hosts -A
  nestorctl watch bindings -o json        # one line of JSON for each event)";

struct WatchOptions {
  std::vector<std::string> kinds;
  std::string machine;
  bool all_projects = false;
};

absl::StatusOr<v1::WatchRequest> MakeRequest(const Session& session, const WatchOptions& options) {
  v1::WatchRequest request;
  bool hosts = options.kinds.empty();
  if (options.kinds.empty()) {
    request.add_kinds(v1::WatchRequest::KIND_HOST);
    request.add_kinds(v1::WatchRequest::KIND_VIRTUAL_MACHINE);
    request.add_kinds(v1::WatchRequest::KIND_PASID_BINDING);
  }
  for (const std::string& word : options.kinds) {
    auto kind = ParseKind(word);
    if (!kind.ok()) return kind.status();
    if (*kind == Kind::kDevice) return absl::InvalidArgumentError("devices cannot be watched");
    hosts = hosts || *kind == Kind::kHost;
    request.add_kinds(*kind == Kind::kHost             ? v1::WatchRequest::KIND_HOST
                      : *kind == Kind::kVirtualMachine ? v1::WatchRequest::KIND_VIRTUAL_MACHINE
                                                       : v1::WatchRequest::KIND_PASID_BINDING);
  }
  if (!options.machine.empty()) {
    auto machine = FullName(Kind::kVirtualMachine, options.machine, session.project());
    if (!machine.ok()) return machine.status();
    request.set_parent(*machine);
  } else if (!options.all_projects && !hosts) {
    request.set_parent(absl::StrCat("projects/", session.project()));
  }
  return request;
}

// Follows the changes over as many streams as it takes.
class Watcher {
 public:
  Watcher(const Session& session, Connection& connection, v1::WatchRequest request,
          bool all_projects)
      : session_(session),
        connection_(connection),
        request_(std::move(request)),
        hidden_unless_(all_projects ? "" : absl::StrCat("projects/", session.project(), "/")),
        deadline_(absl::Now() + session.Timeout(absl::InfiniteDuration())) {}

  ExitCode Run() {
    absl::Status status = Follow(false);
    while (absl::IsUnavailable(status) && connected_ && absl::Now() < deadline_) {
      absl::SleepFor(kReconnectPause);
      status = Follow(true);
    }
    if (status.ok() || (absl::IsDeadlineExceeded(status) && connected_)) return ExitCode::kOk;
    return session_.CallError("watch", status);
  }

 private:
  absl::Status Follow(bool wait_for_ready) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline_));
    context.set_wait_for_ready(wait_for_ready);
    in_snapshot_ = request_.resume_token().empty();
    auto reader = connection_.watch().Watch(&context, request_);
    v1::WatchResponse event;
    while (session_.out() && reader->Read(&event)) Take(event);
    if (!session_.out()) {
      context.TryCancel();
      reader->Finish();
      return absl::OkStatus();
    }
    const grpc::Status status = reader->Finish();
    if (connected_ && StreamWasBroken(status)) return absl::UnavailableError("the watch ended");
    if (status.error_code() != grpc::StatusCode::OUT_OF_RANGE) return FromGrpcStatus(status);
    session_.err() << "the server's history no longer reaches back to the last event: starting "
                      "from a new snapshot\n";
    request_.clear_resume_token();
    return absl::UnavailableError("the history was compacted");
  }

  void Take(const v1::WatchResponse& event) {
    connected_ = true;
    if (!event.resume_token().empty()) request_.set_resume_token(event.resume_token());
    if (event.type() == v1::WatchResponse::TYPE_SYNCED) in_snapshot_ = false;
    const std::string name = EventName(event);
    if (name.empty() || Hidden(name)) return;
    switch (session_.output()) {
      case OutputFormat::kJson:
        session_.out() << ToJsonLine(event, "") << '\n';
        break;
      case OutputFormat::kYaml:
        session_.out() << ToYaml(event, "") << "---\n";
        break;
      default:
        session_.out() << EventLine(event, in_snapshot_, absl::Now()) << '\n';
    }
    session_.out().flush();
  }

  bool Hidden(const std::string& name) const {
    return absl::StartsWith(name, "projects/") && !absl::StartsWith(name, hidden_unless_);
  }

  const Session& session_;
  Connection& connection_;
  v1::WatchRequest request_;
  // Names in projects are shown only if they begin so.
  const std::string hidden_unless_;
  const absl::Time deadline_;
  bool connected_ = false;
  bool in_snapshot_ = true;
};

ExitCode RunWatch(const Session& session, const WatchOptions& options) {
  auto request = MakeRequest(session, options);
  if (!request.ok()) return session.UsageError(request.status());
  auto connection = session.Connect();
  if (!connection.ok()) return session.UsageError(connection.status());
  const bool all = options.all_projects || !options.machine.empty();
  return Watcher(session, **connection, *std::move(request), all).Run();
}

}  // namespace

void AddWatchCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command = app->add_subcommand("watch", "Follow changes as they happen");
  command->footer(kFooter);
  auto options = std::make_shared<WatchOptions>();
  command->add_option("kind", options->kinds, "What to follow; none: all of these")
      ->type_name("{hosts,vms,bindings}");
  command->add_flag("-A,--all-projects", options->all_projects, "In all projects");
  command->add_option("--vm", options->machine, "Only this virtual machine and its bindings")
      ->type_name("VM");
  command->callback([&session, chosen, options] {
    *chosen = [&session, options] { return RunWatch(session, *options); };
  });
}

}  // namespace nestor::cli
