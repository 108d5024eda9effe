// nestorctl: the command line of Nestor.
#include <signal.h>
#include <unistd.h>

#include <iostream>
#include <string>
#include <vector>

#include "cli/commands/command_line.h"

int main(int argc, char** argv) {
  using nestor::cli::ExitCode;
  // `nestorctl ... | head -1` ends without a word, whatever the parent made of the signal.
  // gRPC asks for no signal where it writes to its own sockets.
  signal(SIGPIPE, SIG_DFL);
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const nestor::cli::Console console{std::cin, std::cout, std::cerr, isatty(STDERR_FILENO) == 1,
                                     isatty(STDIN_FILENO) == 1};
  ExitCode exit_code = nestor::cli::RunCommandLine(arguments, console);
  std::cout.flush();
  if (!std::cout) {
    std::cerr << "error: cannot write the output\n";
    if (exit_code == ExitCode::kOk) exit_code = ExitCode::kFailed;
  }
  return static_cast<int>(exit_code);
}
