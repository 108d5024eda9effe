// nestorctl without its main function.
#pragma once

#include <string>
#include <vector>

#include "cli/commands/session.h"
#include "cli/exit_code.h"

namespace nestor::cli {

// Runs one command line, without the program's name.
ExitCode RunCommandLine(const std::vector<std::string>& arguments, const Console& console);

}  // namespace nestor::cli
