#include "cli/commands/commands.h"
#include "cli/commands/deleter.h"
#include "cli/names.h"

namespace nestor::cli {
namespace {

constexpr char kFooter[] =
    R"(The same as `nestorctl delete binding`. The deletion is stored at once; the binding is gone,
and its PASID free, when its host has let go: --wait waits for that.

Examples:
  nestorctl unbind web-1/sva-3 --dry-run
  nestorctl unbind web-1/sva-3 web-1/sva-4 --wait
  nestorctl unbind web-1/sva-3 --ignore-not-found)";

struct UnbindOptions {
  std::vector<std::string> names;
  DeleteOptions how;
};

ExitCode RunUnbind(const Session& session, const UnbindOptions& options) {
  std::vector<DeleteTarget> targets;
  for (const std::string& typed : options.names) {
    auto name = FullName(Kind::kPasidBinding, typed, session.project());
    if (!name.ok()) return session.UsageError(name.status());
    targets.push_back({Kind::kPasidBinding, *std::move(name)});
  }
  auto connection = session.Connect();
  if (!connection.ok()) return session.UsageError(connection.status());
  return Deleter(session, **connection, options.how).Run(targets);
}

}  // namespace

void AddUnbindCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command = app->add_subcommand("unbind", "Take bindings away");
  command->footer(kFooter);
  auto options = std::make_shared<UnbindOptions>();
  command->add_option("name", options->names, "The bindings, e.g. web-1/sva-3")
      ->type_name("VM/BINDING")
      ->required();
  AddDeleteOptions(command, &options->how);
  command->callback([&session, chosen, options] {
    *chosen = [&session, options] { return RunUnbind(session, *options); };
  });
}

}  // namespace nestor::cli
