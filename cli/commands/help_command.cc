#include "absl/strings/str_cat.h"
#include "api/support/resource_name.h"
#include "cli/commands/commands.h"
#include "cli/exit_code.h"
#include "cli/nearest_name.h"

namespace nestor::cli {
namespace {

constexpr char kFooter[] = R"(Topics are the names of the commands, and exit-codes.

Examples:
  nestorctl help
  nestorctl help apply
  nestorctl help exit-codes)";

constexpr char kExitCodesTopic[] = "exit-codes";

ExitCode PrintHelp(const Session& session, const CLI::App& app, const std::string& topic) {
  if (topic == kExitCodesTopic) {
    session.out() << kExitCodesText;
    return ExitCode::kOk;
  }
  if (topic.empty()) {
    // App::help would show the help of the chosen command, which is this one.
    session.out() << app.get_formatter()->make_help(&app, app.get_name(),
                                                    CLI::AppFormatMode::Normal);
    return ExitCode::kOk;
  }
  std::vector<std::string> known = {kExitCodesTopic};
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->get_name() == topic) {
      PrintCommandHelp(session.out(), app, *command);
      return ExitCode::kOk;
    }
    known.push_back(command->get_name());
  }
  return session.UsageError(absl::InvalidArgumentError(
      absl::StrCat("unknown topic \"", Printable(topic), "\"", Suggestion(topic, known))));
}

}  // namespace

void PrintCommandHelp(std::ostream& out, const CLI::App& app, const CLI::App& command) {
  out << command.help(app.get_name())
      << "\n`nestorctl --help` shows the options that all commands have.\n";
}

void AddHelpCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command = app->add_subcommand("help", "Explain a command, or the exit codes");
  command->footer(kFooter);
  auto topic = std::make_shared<std::string>();
  command->add_option("topic", *topic, "A command, or exit-codes");
  command->callback([app, &session, chosen, topic] {
    *chosen = [app, &session, topic] { return PrintHelp(session, *app, *topic); };
  });
}

}  // namespace nestor::cli
