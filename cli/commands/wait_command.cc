#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "cli/commands/commands.h"
#include "cli/commands/resource_client.h"
#include "cli/commands/waiting.h"
#include "cli/names.h"
#include "cli/nearest_name.h"

namespace nestor::cli {
namespace {

constexpr char kFooter[] =
    R"(A binding is PROGRAMMED when the host's kernel has its present generation. A virtual
machine stands for all its bindings, or with --for absent for itself and them.

Exit codes: 0 reached, 1 one failed for good, 3 one does not exist, 4 time ran out (the
first that is not there is explained).

Examples:
  nestorctl wait web-1/sva-3 --for programmed
  nestorctl wait web-1 db-1 --timeout 5m
  nestorctl wait web-1 --for absent)";

struct WaitOptions {
  std::vector<std::string> names;
  std::string goal = "programmed";
};

absl::StatusOr<Goal> ParseGoal(const std::string& word) {
  if (word == "programmed") return Goal::kProgrammed;
  if (word == "absent") return Goal::kAbsent;
  return absl::InvalidArgumentError(absl::StrCat("--for: unknown state \"", Printable(word), "\"",
                                                 Suggestion(word, {"programmed", "absent"})));
}

// The full name of a virtual machine or binding.
absl::StatusOr<std::string> WaitableName(const std::string& name, const std::string& project) {
  const bool full = absl::StartsWith(name, "projects/");
  const bool binding = absl::StrContains(name, full ? "/pasidBindings/" : "/");
  return FullName(binding ? Kind::kPasidBinding : Kind::kVirtualMachine, name, project);
}

// Adds what `name` stands for.
absl::Status AddTargets(Connection& connection, const std::string& name, WaitTracker* tracker) {
  if (tracker->goal() == Goal::kAbsent || absl::StrContains(name, "/pasidBindings/")) {
    tracker->Add(name);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(GetResource(connection, Kind::kVirtualMachine, name).status());
  return ListResources(
      connection, {Kind::kPasidBinding, name, ""},
      [tracker](const google::protobuf::Message& binding) {
        tracker->Add(static_cast<const v1::PasidBinding&>(binding).name());
      },
      [] { return true; });
}

ExitCode RunWait(const Session& session, const WaitOptions& options) {
  auto goal = ParseGoal(options.goal);
  if (!goal.ok()) return session.UsageError(goal.status());
  std::vector<std::string> names;
  for (const std::string& typed : options.names) {
    auto name = WaitableName(typed, session.project());
    if (!name.ok()) return session.UsageError(name.status());
    names.push_back(*std::move(name));
  }
  auto connection = session.Connect();
  if (!connection.ok()) return session.UsageError(connection.status());
  WaitTracker tracker(*goal);
  for (const std::string& name : names) {
    const absl::Status status = AddTargets(**connection, name, &tracker);
    if (!status.ok()) return session.CallError("wait for " + ShortName(name, true), status);
  }
  return WaitFor(session, **connection, tracker, session.Timeout(kDefaultWait));
}

}  // namespace

void AddWaitCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command = app->add_subcommand("wait", "Wait until bindings are programmed, or gone");
  command->footer(kFooter);
  auto options = std::make_shared<WaitOptions>();
  command->add_option("name", options->names, "Bindings (web-1/sva-3) or virtual machines (web-1)")
      ->type_name("NAME")
      ->required();
  command->add_option("--for", options->goal, "What to wait for")
      ->type_name("{programmed,absent}")
      ->capture_default_str();
  command->callback([&session, chosen, options] {
    *chosen = [&session, options] { return RunWait(session, *options); };
  });
}

}  // namespace nestor::cli
