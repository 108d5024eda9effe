#include "cli/commands/completion_tree.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace nestor::cli {
namespace {

CompletedValue ReadValue(const CLI::Option& option) {
  CompletedValue value;
  const std::string type_name = option.get_type_name();
  absl::string_view type = type_name;
  value.file = type == "FILE";
  if (absl::ConsumePrefix(&type, "{") && absl::ConsumeSuffix(&type, "}")) {
    value.choices = absl::StrSplit(type, ',');
  }
  return value;
}

CompletedOption ReadOption(const CLI::Option& option) {
  CompletedOption read;
  for (const std::string& name : option.get_snames()) read.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) read.names.push_back("--" + name);
  read.description = option.get_description();
  read.takes_value = option.get_items_expected_max() > 0;
  read.value = ReadValue(option);
  return read;
}

bool Contains(const std::vector<CompletedOption>& options, const CompletedOption& option) {
  return std::any_of(options.begin(), options.end(),
                     [&](const CompletedOption& other) { return other.names == option.names; });
}

// Leaves out what goes with every command.
void ReadCommand(const CLI::App& app, const std::vector<CompletedOption>& global,
                 CompletedCommand* command) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      command->arguments.push_back({option->get_items_expected_max() > 1, ReadValue(*option)});
    } else if (CompletedOption read = ReadOption(*option); !Contains(global, read)) {
      command->options.push_back(std::move(read));
    }
  }
  // A group of options is a command without a name.
  for (const CLI::App* group : app.get_subcommands({})) {
    if (group->get_name().empty()) ReadCommand(*group, global, command);
  }
}

}  // namespace

CompletionTree ReadCompletionTree(const CLI::App& app) {
  CompletedCommand root;
  ReadCommand(app, {}, &root);
  CompletionTree tree{app.get_name(), std::move(root.options), {}};
  for (const CLI::App* subcommand : app.get_subcommands({})) {
    CompletedCommand command{subcommand->get_name(), subcommand->get_description(), {}, {}};
    ReadCommand(*subcommand, tree.options, &command);
    tree.commands.push_back(std::move(command));
  }
  return tree;
}

}  // namespace nestor::cli
