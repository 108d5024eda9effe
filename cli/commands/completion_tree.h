// What a shell can complete, read from the program's own parser so that it never lags behind.
#pragma once

#include <CLI/App.hpp>
#include <string>
#include <vector>

namespace nestor::cli {

// A value that can be typed. An option says what it takes by its type name: `{table,json}` are
// all the values there are, `FILE` is a path, anything else only the user knows.
struct CompletedValue {
  std::vector<std::string> choices;
  bool file = false;
};

struct CompletedOption {
  // With their dashes, short ones first: "-o", "--output".
  std::vector<std::string> names;
  std::string description;
  bool takes_value = false;
  CompletedValue value;
};

struct CompletedArgument {
  // Takes this word and all that follow.
  bool repeated = false;
  CompletedValue value;
};

struct CompletedCommand {
  std::string name;
  std::string description;
  std::vector<CompletedOption> options;
  // In the order in which they are typed.
  std::vector<CompletedArgument> arguments;
};

struct CompletionTree {
  std::string program;
  // Go with every command.
  std::vector<CompletedOption> options;
  std::vector<CompletedCommand> commands;
};

CompletionTree ReadCompletionTree(const CLI::App& app);

}  // namespace nestor::cli
