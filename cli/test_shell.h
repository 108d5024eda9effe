// Runs commands as a person's shell would.
#pragma once

#include <string>

namespace nestor::cli {

struct ShellOutcome {
  int exit_code;
  // What it wrote to stdout.
  std::string out;
};

// Runs `command` by bash, with build/PRESET/bin in PATH and without NESTOR_* variables of the
// caller. A pipeline has the exit code of its last command that failed.
ShellOutcome RunShell(const std::string& command);

}  // namespace nestor::cli
