#include "cli/commands/commands.h"
#include "cli/commands/differ.h"
#include "cli/commands/manifest_files.h"

namespace nestor::cli {
namespace {

constexpr char kFooter[] =
    R"(Shows each resource that `nestorctl apply` of the same manifest would create (+), change (~)
or delete (-), field by field, and has the server check that it would take it. Changes nothing.

Exit codes: 0 nothing would change, 1 something would, 2 the manifest is wrong or the server
would refuse it; the others as everywhere.

Examples:
  nestorctl diff -f examples/fleet.yaml
  nestorctl get vm web-1 -o yaml | nestorctl diff -f -
  sed s/0x100000/0x900000/ examples/fleet.yaml | nestorctl diff -f -)";

ExitCode RunDiff(const Session& session, const std::vector<std::string>& files) {
  auto manifest = ReadManifest(files, session.in(), session.project());
  if (!manifest.ok()) return session.ManifestError(manifest.status());
  auto connection = session.Connect();
  if (!connection.ok()) return session.UsageError(connection.status());
  Differ differ(session, **connection);
  const ExitCode compared = differ.Compare(*manifest);
  // 1 is taken: as for diff(1), it says that there are differences.
  if (compared == ExitCode::kFailed) return ExitCode::kUsage;
  if (compared != ExitCode::kOk) return compared;
  return differ.differs() ? ExitCode::kDiffers : ExitCode::kOk;
}

}  // namespace

void AddDiffCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command = app->add_subcommand("diff", "Show what applying manifests would change");
  command->footer(kFooter);
  auto files = std::make_shared<std::vector<std::string>>();
  AddFileOption(command, files.get())->required();
  command->callback([&session, chosen, files] {
    *chosen = [&session, files] { return RunDiff(session, *files); };
  });
}

}  // namespace nestor::cli
