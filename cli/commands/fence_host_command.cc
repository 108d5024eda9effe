#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/commands/host_admin.h"
#include "cli/names.h"

namespace nestor::cli {
namespace {

constexpr char kFooter[] =
    R"(For a host that a person has confirmed dead: powered off, or cut off for good. What waited
there for deletion is gone at once and its PASIDs are free; the bindings that remain are
NOT_PROGRAMMED HOST_FENCED. The fence is lifted when the host's agent connects and holds
nothing; an agent that still holds something is told to release it first. On a terminal the
command asks before it acts; elsewhere --yes stands for the answer.

Examples:
  nestorctl fence-host host-a --evidence "powered off by its BMC, ticket 4711" --yes
  nestorctl fence-host host-a --evidence "its switch port is shut" --force --yes --dry-run)";

struct FenceOptions {
  HostAdminOptions host;
  std::string evidence;
  bool force = false;
  bool yes = false;
};

// Whether the operator answers with the host's name.
bool IsConfirmed(const Session& session, const std::string& host) {
  session.err() << "Everything on " << host
                << " counts as gone from now on. If its guests still run, their devices still "
                   "reach their memory,\nand their PASIDs are given to others. Type the name of "
                   "the host to fence it: "
                << std::flush;
  std::string answer;
  std::getline(session.in(), answer);
  return absl::StripAsciiWhitespace(answer) == host;
}

ExitCode RunFence(const Session& session, const FenceOptions& options) {
  auto name = HostNameOf(options.host);
  if (!name.ok()) return session.UsageError(name.status());
  const std::string host = ShortName(*name, false);
  if (!options.yes && !options.host.dry_run) {
    if (!session.in_is_terminal()) {
      return session.UsageError(absl::InvalidArgumentError(
          "there is no terminal to ask on; --yes says that the host is dead"));
    }
    if (!IsConfirmed(session, host)) {
      session.err() << "error: " << host << " is not fenced\n";
      return ExitCode::kFailed;
    }
  }
  v1::FenceHostRequest request;
  request.set_evidence(options.evidence);
  request.set_force(options.force);
  ExitCode exit_code = ExitCode::kOk;
  auto fenced = CallHostAdmin(session, options.host, absl::StrCat("fence host ", host),
                              &v1::HostAdminService::Stub::FenceHost, request, &exit_code);
  if (!fenced.ok()) return exit_code;
  PrintHost(session, *fenced,
            absl::StrCat("host ", host, " fenced at epoch ", fenced->status().fence().epoch(),
                         options.host.dry_run ? " (dry run)" : ""));
  return ExitCode::kOk;
}

}  // namespace

void AddFenceHostCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command = app->add_subcommand("fence-host", "Declare a host dead (operators)");
  command->footer(kFooter);
  auto options = std::make_shared<FenceOptions>();
  AddHostAdminOptions(command, &options->host);
  command->add_option("--evidence", options->evidence, "What shows that the host is dead")
      ->type_name("TEXT")
      ->required();
  command->add_flag("--force", options->force, "Also while its agent is connected");
  command->add_flag("--yes", options->yes, "Do not ask");
  command->callback([&session, chosen, options] {
    *chosen = [&session, options] { return RunFence(session, *options); };
  });
}

}  // namespace nestor::cli
