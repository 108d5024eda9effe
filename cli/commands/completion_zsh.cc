#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "cli/commands/completion_script.h"

namespace nestor::cli {
namespace {

constexpr char kScript[] = R"(#compdef $PROGRAM
# Completion of $PROGRAM for zsh. To load it after compinit:
#   source <($PROGRAM completion zsh)
_$PROGRAM() {
  local context state line
  local -a commands=(
$COMMANDS  )
  local -a options=(
$OPTIONS  )
  _arguments -C $options '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe command commands ;;
    argument)
      case $line[1] in
$CASES      esac ;;
  esac
}
if [[ $funcstack[1] == _$PROGRAM ]]; then _$PROGRAM "$@"; else compdef _$PROGRAM $PROGRAM; fi
)";

// In a specification of _arguments between single quotes.
std::string Escape(absl::string_view text) {
  return absl::StrReplaceAll(
      text, {{"\\", "\\\\"}, {"[", "\\["}, {"]", "\\]"}, {":", "\\:"}, {"'", "'\\''"}});
}

std::string Action(const CompletedValue& value) {
  if (value.file) return "_files";
  if (value.choices.empty()) return "";
  return absl::StrCat("(", absl::StrJoin(value.choices, " "), ")");
}

// '(-o --output)'{-o,--output}'[description]:value:(table json)'
std::string Specification(const CompletedOption& option) {
  const bool several = option.names.size() > 1;
  const std::string names = several ? absl::StrCat("'(", absl::StrJoin(option.names, " "), ")'{",
                                                   absl::StrJoin(option.names, ","), "}'")
                                    : absl::StrCat("'", option.names.front());
  const std::string value = option.takes_value ? absl::StrCat(":value:", Action(option.value)) : "";
  return absl::StrCat(names, "[", Escape(option.description), "]", value, "'");
}

std::string Case(const CompletedCommand& command) {
  std::string text = absl::StrCat("        ", command.name, ")\n          _arguments $options");
  auto add = [&text](const std::string& specification) {
    absl::StrAppend(&text, " \\\n            ", specification);
  };
  for (const CompletedOption& option : command.options) add(Specification(option));
  for (size_t i = 0; i < command.arguments.size(); ++i) {
    const CompletedArgument& argument = command.arguments[i];
    const std::string position = argument.repeated ? "*" : absl::StrCat(i + 1);
    add(absl::StrCat("'", position, ":argument:", Action(argument.value), "'"));
  }
  return absl::StrCat(text, " ;;\n");
}

}  // namespace

std::string ZshCompletion(const CompletionTree& tree) {
  std::string commands;
  std::string options;
  std::string cases;
  for (const CompletedOption& option : tree.options) {
    absl::StrAppend(&options, "    ", Specification(option), "\n");
  }
  for (const CompletedCommand& command : tree.commands) {
    absl::StrAppend(&commands, "    '", Escape(command.name), ":", Escape(command.description),
                    "'\n");
    cases += Case(command);
  }
  return absl::StrReplaceAll(kScript, {{"$PROGRAM", tree.program},
                                       {"$COMMANDS", commands},
                                       {"$OPTIONS", options},
                                       {"$CASES", cases}});
}

}  // namespace nestor::cli
