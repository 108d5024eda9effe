#include "cli/commands/applier.h"
#include "cli/commands/commands.h"
#include "cli/commands/manifest_files.h"
#include "cli/commands/waiting.h"

namespace nestor::cli {
namespace {

constexpr char kFooter[] =
    R"(A manifest is YAML or JSON, one or many documents, each a resource of the API:

  apiVersion: nestor.dev/v1                    # optional
  kind: VirtualMachine                         # or Host, PasidBinding
  name: projects/demo/virtualMachines/web-1    # or web-1, in --project
  metadata: {labels: {tier: web}}              # optional
  spec:
    placement: {host: host-a, devices: ["0000:01:00.0"]}
  bindings:             # ALL the machine's bindings: what is left out here is deleted;
  - name: sva-1         # without the key the bindings stay as they are
    spec:
      device: "0000:01:00.0"
      pasid: 1          # or anyOf: {first: 1, last: 9}, or rid: {} for the device itself
      pageTable: {format: VTD_S1, root: 0x100000, addressWidth: 48}
      allowTranslationGap: true   # a root change may fault the PASID's DMA for a moment

A PasidBinding document is one of its machine's `bindings`, where the machine is in the same
manifest. A machine and its bindings are stored in one transaction. What `get -o yaml` or
`-o json` prints can be applied. Applying the same again changes nothing. With --dry-run
nothing builds on what came before: a machine is refused if its host is yet to be created.

Examples:
  nestorctl apply -f examples/fleet.yaml
  nestorctl apply -f examples/fleet.yaml --wait --timeout 2m
  nestorctl apply -f examples/fleet.yaml --dry-run
  sed s/0x100000/0x900000/ examples/fleet.yaml | nestorctl apply -f -)";

struct ApplyOptions {
  std::vector<std::string> files;
  bool dry_run = false;
  bool wait = false;
};

void PrintSummary(const Session& session, const Applier& applier, bool dry_run) {
  const ApplyCounts& counts = applier.counts();
  session.out() << "created: " << counts.created << " updated: " << counts.updated
                << " deleted: " << counts.deleted << " unchanged: " << counts.unchanged;
  if (applier.failed() > 0) session.out() << " failed: " << applier.failed();
  if (dry_run) session.out() << " (dry run: nothing was changed)";
  if (!dry_run && applier.revision() > 0)
    session.out() << " (revision " << applier.revision() << ")";
  session.out() << '\n';
}

ExitCode RunApply(const Session& session, const ApplyOptions& options) {
  auto manifest = ReadManifest(options.files, session.in(), session.project());
  if (!manifest.ok()) return session.ManifestError(manifest.status());
  auto connection = session.Connect();
  if (!connection.ok()) return session.UsageError(connection.status());
  Applier applier(session, **connection, options.dry_run);
  const ExitCode applied = applier.Apply(*manifest);
  PrintSummary(session, applier, options.dry_run);
  session.out().flush();
  if (!options.wait || options.dry_run || applied == ExitCode::kUnreachable) return applied;
  const ExitCode waited =
      WaitFor(session, **connection, applier.tracker(), session.Timeout(kDefaultWait));
  return applied == ExitCode::kOk ? waited : applied;
}

}  // namespace

void AddApplyCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command = app->add_subcommand("apply", "Make the fleet as manifests say");
  command->footer(kFooter);
  auto options = std::make_shared<ApplyOptions>();
  AddFileOption(command, &options->files)->required();
  command->add_flag("--dry-run", options->dry_run,
                    "Have the server do every check and change nothing");
  command->add_flag("--wait", options->wait,
                    "Wait until all bindings applied are programmed (--timeout, 60s)");
  command->callback([&session, chosen, options] {
    *chosen = [&session, options] { return RunApply(session, *options); };
  });
}

}  // namespace nestor::cli
