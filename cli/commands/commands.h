// The commands of nestorctl. Each Add function adds one to the program's parser; when the
// command line names it, `chosen` is set to what runs it.
#pragma once

#include <CLI/App.hpp>

#include "cli/commands/session.h"

namespace nestor::cli {

void AddApplyCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddBindCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddCompletionCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddDeleteCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddDescribeCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddDiffCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddDrainHostCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddExplainCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddFenceHostCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddGetCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddHelpCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddInvalidateCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddTimelineCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddUnbindCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddUndrainHostCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddVersionCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddWaitCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddWatchCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);

// What `nestorctl COMMAND --help` prints.
void PrintCommandHelp(std::ostream& out, const CLI::App& app, const CLI::App& command);

}  // namespace nestor::cli
