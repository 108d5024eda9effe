#include "cli/commands/command_line.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>

#include "cli/commands/commands.h"
#include "cli/local/local_command_line.h"
#include "cli/nearest_name.h"
#include "cli/text.h"

namespace nestor::cli {
namespace {

constexpr char kDescription[] =
    "nestorctl says to a Nestor server which guest page tables shall be bound to which PASIDs\n"
    "of which devices, and shows what the hosts made of it.\n";

constexpr char kFooter[] = R"(Names are full, or short in --project:
  host host-a, device host-a/0000:01:00.0, vm web-1, binding web-1/sva-3
  hosts/host-a, projects/demo/virtualMachines/web-1/pasidBindings/sva-3

Examples:
  export NESTOR_SERVER=unix:/run/nestor/server.sock NESTOR_INSECURE=true
  nestorctl apply -f examples/fleet.yaml --wait
  nestorctl get bindings --project demo
  nestorctl explain --project demo web-1/sva-3
`nestorctl --local ADDRESS --help` is about speaking to one agent without any server.
`nestorctl COMMAND --help` shows each command's options and examples, `nestorctl help
exit-codes` what the exit codes say.)";

void AddCommands(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  AddApplyCommand(app, session, chosen);
  AddDiffCommand(app, session, chosen);
  AddGetCommand(app, session, chosen);
  AddDescribeCommand(app, session, chosen);
  AddExplainCommand(app, session, chosen);
  AddTimelineCommand(app, session, chosen);
  AddWatchCommand(app, session, chosen);
  AddWaitCommand(app, session, chosen);
  AddBindCommand(app, session, chosen);
  AddUnbindCommand(app, session, chosen);
  AddInvalidateCommand(app, session, chosen);
  AddDeleteCommand(app, session, chosen);
  AddDrainHostCommand(app, session, chosen);
  AddUndrainHostCommand(app, session, chosen);
  AddFenceHostCommand(app, session, chosen);
  AddCompletionCommand(app, session, chosen);
  AddHelpCommand(app, session, chosen);
  AddVersionCommand(app, session, chosen);
}

// "nestorctl get" where the command line got that far, else "nestorctl".
std::string HelpCommand(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? app.get_name() : app.get_name() + " " + commands[0]->get_name();
}

// An unknown command is told from other mistakes, since its name can be suggested.
std::string UnknownCommand(const CLI::App& app, const std::vector<std::string>& arguments) {
  if (!app.get_subcommands().empty() || arguments.empty() || arguments[0][0] == '-') return "";
  std::vector<std::string> known;
  for (const CLI::App* command : app.get_subcommands({})) known.push_back(command->get_name());
  return "unknown command \"" + TerminalSafe(arguments[0]) + "\"" + Suggestion(arguments[0], known);
}

ExitCode ReportParseError(const CLI::App& app, const CLI::ParseError& error,
                          const std::vector<std::string>& arguments, const Console& console) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
    const auto commands = app.get_subcommands();
    if (commands.empty()) {
      console.out << app.help();
    } else {
      PrintCommandHelp(console.out, app, *commands[0]);
    }
    return ExitCode::kOk;
  }
  const std::string unknown = UnknownCommand(app, arguments);
  console.err << "error: " << (unknown.empty() ? TerminalSafe(error.what()) : unknown) << "\nRun `"
              << HelpCommand(app) << " --help` for usage.\n";
  return ExitCode::kUsage;
}

}  // namespace

ExitCode RunCommandLine(const std::vector<std::string>& arguments, const Console& console) {
  if (IsLocal(arguments)) return RunLocalCommandLine(arguments, console.out, console.err);
  CLI::App app(kDescription, "nestorctl");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  Session session(console);
  session.AddGlobalOptions(&app);
  ChosenCommand chosen;
  AddCommands(&app, session, &chosen);
  try {
    // CLI11 takes the arguments last first.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    return ReportParseError(app, error, arguments, console);
  }
  session.SetCommand(app.get_subcommands()[0]->get_name());
  return chosen();
}

}  // namespace nestor::cli
