#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/commands/deleter.h"
#include "cli/commands/manifest_files.h"
#include "cli/names.h"

namespace nestor::cli {
namespace {

constexpr char kFooter[] =
    R"(Virtual machines and bindings go in two phases: the deletion is stored, and they are gone
when their host has let go. --wait waits for that. With -f, what the manifest names is
deleted: bindings and machines first, hosts last; a machine that lists its bindings takes
all of them with it.

Examples:
  nestorctl delete binding web-1/sva-3 web-1/sva-4
  nestorctl delete vm web-1 --force --wait
  nestorctl delete host host-a
  nestorctl delete -f examples/fleet.yaml --wait --ignore-not-found)";

struct CommandOptions {
  std::vector<std::string> kind_and_names;
  std::vector<std::string> files;
  bool force = false;
  DeleteOptions how;
};

absl::StatusOr<std::vector<DeleteTarget>> NamedTargets(const Session& session,
                                                       const CommandOptions& options) {
  const std::vector<std::string>& words = options.kind_and_names;
  if (words.size() < 2) {
    return absl::InvalidArgumentError("name a kind and what to delete, or a manifest with -f");
  }
  auto kind = ParseKind(words[0]);
  if (!kind.ok()) return kind.status();
  if (*kind == Kind::kDevice) {
    return absl::InvalidArgumentError(
        "devices are found by their host's agent; they cannot be deleted");
  }
  std::vector<DeleteTarget> targets;
  for (size_t i = 1; i < words.size(); ++i) {
    auto name = FullName(*kind, words[i], session.project());
    if (!name.ok()) return name.status();
    targets.push_back({*kind, *std::move(name), options.force});
  }
  return targets;
}

std::vector<DeleteTarget> ManifestTargets(const Manifest& manifest, bool force) {
  std::vector<DeleteTarget> targets;
  for (const auto& binding : manifest.bindings) {
    targets.push_back({Kind::kPasidBinding, binding.resource.name()});
  }
  for (const auto& machine : manifest.virtual_machines) {
    targets.push_back(
        {Kind::kVirtualMachine, machine.resource.name(), force || machine.bindings.has_value()});
  }
  for (const auto& host : manifest.hosts) {
    targets.push_back({Kind::kHost, host.resource.name()});
  }
  return targets;
}

ExitCode Delete(const Session& session, const std::vector<DeleteTarget>& targets,
                const DeleteOptions& how) {
  auto connection = session.Connect();
  if (!connection.ok()) return session.UsageError(connection.status());
  return Deleter(session, **connection, how).Run(targets);
}

ExitCode RunDelete(const Session& session, const CommandOptions& options) {
  if (options.files.empty()) {
    auto targets = NamedTargets(session, options);
    if (!targets.ok()) return session.UsageError(targets.status());
    return Delete(session, *targets, options.how);
  }
  if (!options.kind_and_names.empty()) {
    return session.UsageError(absl::InvalidArgumentError("names and -f exclude each other"));
  }
  auto manifest = ReadManifest(options.files, session.in(), session.project());
  if (!manifest.ok()) return session.ManifestError(manifest.status());
  return Delete(session, ManifestTargets(*manifest, options.force), options.how);
}

}  // namespace

void AddDeleteCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command = app->add_subcommand("delete", "Delete bindings, virtual machines or hosts");
  command->footer(kFooter);
  auto options = std::make_shared<CommandOptions>();
  command
      ->add_option("kind-and-names", options->kind_and_names, "vm, binding or host, then the names")
      ->type_name("{vm,binding,host}");
  AddFileOption(command, &options->files);
  command->add_flag("--force", options->force, "Delete a virtual machine's bindings with it");
  AddDeleteOptions(command, &options->how);
  command->callback([&session, chosen, options] {
    *chosen = [&session, options] { return RunDelete(session, *options); };
  });
}

}  // namespace nestor::cli
