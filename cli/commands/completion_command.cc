#include "absl/strings/str_cat.h"
#include "api/support/resource_name.h"
#include "cli/commands/commands.h"
#include "cli/commands/completion_script.h"
#include "cli/nearest_name.h"

namespace nestor::cli {
namespace {

constexpr char kFooter[] = R"(To load it in the present shell, and from then on in each new one:
  bash   source <(nestorctl completion bash)       the same line in ~/.bashrc
  zsh    source <(nestorctl completion zsh)        the same line in ~/.zshrc, after compinit
  fish   nestorctl completion fish | source        the same line in ~/.config/fish/config.fish

Examples:
  nestorctl completion bash
  nestorctl completion zsh
  nestorctl completion fish)";

ExitCode PrintCompletion(const Session& session, const CLI::App& app, const std::string& shell) {
  const CompletionTree tree = ReadCompletionTree(app);
  if (shell == "bash") {
    session.out() << BashCompletion(tree);
  } else if (shell == "zsh") {
    session.out() << ZshCompletion(tree);
  } else if (shell == "fish") {
    session.out() << FishCompletion(tree);
  } else {
    return session.UsageError(absl::InvalidArgumentError(absl::StrCat(
        "unknown shell \"", Printable(shell), "\"", Suggestion(shell, {"bash", "zsh", "fish"}))));
  }
  return ExitCode::kOk;
}

}  // namespace

void AddCompletionCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command = app->add_subcommand("completion", "Print a script that completes words");
  command->footer(kFooter);
  auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "Whose script")->type_name("{bash,zsh,fish}")->required();
  command->callback([app, &session, chosen, shell] {
    *chosen = [app, &session, shell] { return PrintCompletion(session, *app, *shell); };
  });
}

}  // namespace nestor::cli
