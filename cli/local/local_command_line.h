// `nestorctl --local ADDRESS ...`: speaks to one agent, without any server.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "cli/exit_code.h"

namespace nestor::cli {

// Whether the command line asks for that.
bool IsLocal(const std::vector<std::string>& arguments);

// Runs it, without the program's name. The exit codes are nestorctl's, but for `check`, which
// has those of `nestor-agent check`.
ExitCode RunLocalCommandLine(const std::vector<std::string>& arguments, std::ostream& out,
                             std::ostream& err);

}  // namespace nestor::cli
