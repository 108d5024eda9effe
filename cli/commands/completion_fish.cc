#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "cli/commands/completion_script.h"

namespace nestor::cli {
namespace {

std::string Quoted(absl::string_view text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"'", "\\'"}}), "'");
}

std::string Choices(const CompletedValue& value) {
  return value.choices.empty() ? ""
                               : absl::StrCat(" -a ", Quoted(absl::StrJoin(value.choices, " ")));
}

std::string NameFlags(const CompletedOption& option) {
  std::string flags;
  for (const std::string& name : option.names) {
    const bool is_long = absl::StartsWith(name, "--");
    absl::StrAppend(&flags, is_long ? " -l " : " -s ", name.substr(is_long ? 2 : 1));
  }
  return flags;
}

// One `complete` line; `condition` is empty for what goes with every command.
std::string Line(const std::string& program, const std::string& condition,
                 const std::string& rest) {
  return absl::StrCat("complete -c ", program,
                      condition.empty() ? "" : absl::StrCat(" -n ", Quoted(condition)), rest, "\n");
}

std::string OptionRest(const CompletedOption& option) {
  std::string value;
  if (option.takes_value) value = option.value.file ? " -rF" : " -x" + Choices(option.value);
  return absl::StrCat(NameFlags(option), value, " -d ", Quoted(option.description));
}

}  // namespace

std::string FishCompletion(const CompletionTree& tree) {
  const std::string& program = tree.program;
  std::string script =
      absl::StrCat("# Completion of ", program, " for fish. To load it:\n#   ", program,
                   " completion fish | source\n", Line(program, "", " -f"));
  for (const CompletedOption& option : tree.options) {
    script += Line(program, "", OptionRest(option));
  }
  for (const CompletedCommand& command : tree.commands) {
    script += Line(program, "__fish_use_subcommand",
                   absl::StrCat(" -a ", command.name, " -d ", Quoted(command.description)));
    const std::string chosen = "__fish_seen_subcommand_from " + command.name;
    for (const CompletedOption& option : command.options) {
      script += Line(program, chosen, OptionRest(option));
    }
    for (const CompletedArgument& argument : command.arguments) {
      if (argument.value.choices.empty()) continue;
      // A word that was typed already is not offered again.
      const std::string typed = absl::StrJoin(argument.value.choices, " ");
      script += Line(program,
                     argument.repeated
                         ? chosen
                         : absl::StrCat(chosen, "; and not __fish_seen_subcommand_from ", typed),
                     Choices(argument.value));
    }
  }
  return script;
}

}  // namespace nestor::cli
