#include "cli/commands/commands.h"

namespace nestor::cli {

void AddVersionCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command = app->add_subcommand("version", "Print the version of this program");
  command->footer("Examples:\n  nestorctl version");
  command->callback([&session, chosen] {
    *chosen = [&session] {
      session.out() << "nestorctl " NESTOR_VERSION " (API nestor.v1)\n";
      return ExitCode::kOk;
    };
  });
}

}  // namespace nestor::cli
