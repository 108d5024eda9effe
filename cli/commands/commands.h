// The commands of nestorctl. Each Add function adds one to the program's parser; when the
// command line names it, `chosen` is set to what runs it.
#pragma once

#include <CLI/App.hpp>

#include "cli/commands/session.h"

namespace nestor::cli {

void AddApplyCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddDeleteCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddDescribeCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddExplainCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddGetCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddVersionCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddWaitCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);
void AddWatchCommand(CLI::App* app, const Session& session, ChosenCommand* chosen);

}  // namespace nestor::cli
