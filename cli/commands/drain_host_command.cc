#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/commands/commands.h"
#include "cli/commands/host_admin.h"
#include "cli/names.h"
#include "cli/progress_line.h"

namespace nestor::cli {
namespace {

constexpr char kDrainFooter[] =
    R"(The host takes no new virtual machines and bindings. What is there stays until its owners
delete or move it; no guest is disturbed. --wait shows what remains until nothing does, and
ends with 4 when --timeout is over first; the host goes on being drained.

Examples:
  nestorctl drain-host host-a
  nestorctl drain-host host-a --wait --timeout 4h)";

constexpr char kUndrainFooter[] = R"(The host takes new virtual machines and bindings again.

Examples:
  nestorctl undrain-host host-a)";

constexpr absl::Duration kPollInterval = absl::Milliseconds(500);

struct DrainOptions {
  HostAdminOptions host;
  bool wait = false;
};

std::string RemainsText(const v1::HostDrain& drain) {
  if (drain.virtual_machines() == 0) return "nothing is placed there any more";
  return absl::StrCat(drain.virtual_machines(), " virtual machines with ", drain.bindings(),
                      " bindings remain");
}

// Looks at the host until it is empty.
class DrainWait {
 public:
  DrainWait(const Session& session, Connection& connection, const v1::Host& host)
      : session_(session),
        connection_(connection),
        host_(host),
        line_(session.err(), session.err_is_terminal(), "gone"),
        start_(absl::Now()) {
    progress_.total = static_cast<int>(host.status().drain().virtual_machines());
  }

  ExitCode Run() {
    const absl::Time end = start_ + session_.Timeout(absl::InfiniteDuration());
    while (host_.status().drain().virtual_machines() > 0) {
      if (absl::Now() >= end) return TimedOut();
      absl::SleepFor(std::min(kPollInterval, end - absl::Now()));
      v1::GetHostRequest request;
      request.set_name(host_.name());
      auto host = connection_.Call(connection_.hosts(), &v1::HostService::Stub::GetHost, request);
      if (!host.ok()) return session_.CallError("get host", host.status());
      host_ = *std::move(host);
      if (!host_.status().has_drain()) return Ended();
      Show();
    }
    line_.Finish(progress_, absl::Now() - start_);
    return ExitCode::kOk;
  }

 private:
  void Show() {
    const auto left = static_cast<int>(host_.status().drain().virtual_machines());
    progress_.total = std::max(progress_.total, left);
    progress_.done = progress_.total - left;
    line_.Update(progress_, absl::Now() - start_);
  }
  ExitCode TimedOut() {
    line_.Finish(progress_, absl::Now() - start_);
    session_.err() << "error: " << RemainsText(host_.status().drain()) << '\n';
    return ExitCode::kWaitTimeout;
  }
  ExitCode Ended() {
    line_.Finish(progress_, absl::Now() - start_);
    session_.err() << "error: somebody ended the drain meanwhile\n";
    return ExitCode::kFailed;
  }

  const Session& session_;
  Connection& connection_;
  v1::Host host_;
  ProgressLine line_;
  Progress progress_;
  const absl::Time start_;
};

ExitCode RunDrain(const Session& session, const DrainOptions& options) {
  ExitCode exit_code = ExitCode::kOk;
  auto host =
      CallHostAdmin(session, options.host, "drain host " + options.host.host,
                    &v1::HostAdminService::Stub::DrainHost, v1::DrainHostRequest(), &exit_code);
  if (!host.ok()) return exit_code;
  PrintHost(session, *host,
            absl::StrCat("host ", ShortName(host->name(), false),
                         " draining: ", RemainsText(host->status().drain()),
                         options.host.dry_run ? " (dry run)" : ""));
  if (!options.wait || options.host.dry_run) return ExitCode::kOk;
  session.out().flush();
  auto connection = session.Connect();
  if (!connection.ok()) return session.UsageError(connection.status());
  return DrainWait(session, **connection, *host).Run();
}

ExitCode RunUndrain(const Session& session, const HostAdminOptions& options) {
  ExitCode exit_code = ExitCode::kOk;
  auto host =
      CallHostAdmin(session, options, "undrain host " + options.host,
                    &v1::HostAdminService::Stub::UndrainHost, v1::UndrainHostRequest(), &exit_code);
  if (!host.ok()) return exit_code;
  PrintHost(session, *host,
            absl::StrCat("host ", ShortName(host->name(), false), " takes what is new again",
                         options.dry_run ? " (dry run)" : ""));
  return ExitCode::kOk;
}

}  // namespace

void AddDrainHostCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command = app->add_subcommand("drain-host", "Begin to empty a host (operators)");
  command->footer(kDrainFooter);
  auto options = std::make_shared<DrainOptions>();
  AddHostAdminOptions(command, &options->host);
  command->add_flag("--wait", options->wait, "Wait until nothing is placed there any more");
  command->callback([&session, chosen, options] {
    *chosen = [&session, options] { return RunDrain(session, *options); };
  });
}

void AddUndrainHostCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command = app->add_subcommand("undrain-host", "End the emptying of a host (operators)");
  command->footer(kUndrainFooter);
  auto options = std::make_shared<HostAdminOptions>();
  AddHostAdminOptions(command, options.get());
  command->callback([&session, chosen, options] {
    *chosen = [&session, options] { return RunUndrain(session, *options); };
  });
}

}  // namespace nestor::cli
