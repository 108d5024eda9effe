#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "cli/commands/completion_script.h"

namespace nestor::cli {
namespace {

// $VALUE_OPTIONS and the like stand for the arms of their case.
constexpr char kScript[] = R"(# Completion of $PROGRAM for bash. To load it:
#   source <($PROGRAM completion bash)
_$PROGRAM() {
  local word="${COMP_WORDS[COMP_CWORD]}" command="" waiting="" words="" each i
  local position=0
  COMPREPLY=()
  # bash takes the = of --option=value for a word of its own.
  [[ $word != "=" ]] || word=""
  # Finds the command, how many of its arguments are there, and an option without its value.
  for ((i = 1; i < COMP_CWORD; i++)); do
    each="${COMP_WORDS[i]}"
    if [[ -n $waiting ]]; then
      [[ $each == "=" ]] || waiting=""
      continue
    fi
    case "$command $each" in
$VALUE_OPTIONS        waiting="$each" ;;
      *" -"*) ;;
      *) if [[ -z $command ]]; then command="$each"; else position=$((position + 1)); fi ;;
    esac
  done
  if [[ -n $waiting ]]; then
    case "$command $waiting" in
$OPTION_VALUES    esac
  elif [[ $word == -* ]]; then
    words="$GLOBAL_OPTIONS"
    case "$command" in
$OPTIONS    esac
  else
    case "$command:$position" in
      :*) words="$COMMANDS" ;;
$ARGUMENTS    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _$PROGRAM $PROGRAM
)";

constexpr char kFiles[] = R"(mapfile -t COMPREPLY < <(compgen -f -- "$word"); return)";

std::string Names(const std::vector<CompletedOption>& options) {
  std::vector<std::string> names;
  for (const CompletedOption& option : options) {
    names.insert(names.end(), option.names.begin(), option.names.end());
  }
  return absl::StrJoin(names, " ");
}

// `"get --host" | "get -h"`; a global option goes with any command.
std::string Pattern(const std::string& command, const CompletedOption& option) {
  return absl::StrJoin(option.names, " | ", [&](std::string* out, const std::string& name) {
    const std::string quoted = absl::StrCat("\"", command, " ", name, "\"");
    out->append(command.empty() ? absl::StrCat("*", quoted) : quoted);
  });
}

std::string Arm(const std::string& pattern, const CompletedValue& value) {
  if (value.file) return absl::StrCat("      ", pattern, ") ", kFiles, " ;;\n");
  if (value.choices.empty()) return "";
  return absl::StrCat("      ", pattern, ") words=\"", absl::StrJoin(value.choices, " "),
                      "\" ;;\n");
}

// The arms that differ between commands.
struct Arms {
  std::vector<std::string> value_options;
  std::string option_values;
  std::string options;
  std::string arguments;
};

void AddOptions(const std::string& command, const std::vector<CompletedOption>& options,
                Arms* arms) {
  for (const CompletedOption& option : options) {
    if (!option.takes_value) continue;
    arms->value_options.push_back(Pattern(command, option));
    arms->option_values += Arm(Pattern(command, option), option.value);
  }
}

void AddArguments(const CompletedCommand& command, Arms* arms) {
  for (size_t i = 0; i < command.arguments.size(); ++i) {
    const CompletedArgument& argument = command.arguments[i];
    const std::string position = argument.repeated ? "*" : absl::StrCat(i);
    arms->arguments += Arm(absl::StrCat(command.name, ":", position), argument.value);
  }
}

}  // namespace

std::string BashCompletion(const CompletionTree& tree) {
  Arms arms;
  std::vector<std::string> commands;
  AddOptions("", tree.options, &arms);
  for (const CompletedCommand& command : tree.commands) {
    commands.push_back(command.name);
    AddOptions(command.name, command.options, &arms);
    AddArguments(command, &arms);
    absl::StrAppend(&arms.options, "      ", command.name, ") words+=\" ", Names(command.options),
                    "\" ;;\n");
  }
  return absl::StrReplaceAll(
      kScript, {{"$PROGRAM", tree.program},
                {"$VALUE_OPTIONS",
                 absl::StrCat("      ", absl::StrJoin(arms.value_options, " | \\\n      "), ")\n")},
                {"$OPTION_VALUES", arms.option_values},
                {"$GLOBAL_OPTIONS", Names(tree.options)},
                {"$OPTIONS", arms.options},
                {"$COMMANDS", absl::StrJoin(commands, " ")},
                {"$ARGUMENTS", arms.arguments}});
}

}  // namespace nestor::cli
