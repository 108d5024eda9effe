#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/commands/manifest_files.h"
#include "cli/commands/waiting.h"
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

struct DeleteOptions {
  std::vector<std::string> kind_and_names;
  std::vector<std::string> files;
  bool force = false;
  bool wait = false;
  bool ignore_not_found = false;
  bool dry_run = false;
};

// Something to delete.
struct Target {
  Kind kind;
  std::string name;
  // A machine's bindings go with it.
  bool force;
};

class Deleter {
 public:
  Deleter(const Session& session, Connection& connection, const DeleteOptions& options)
      : session_(session), connection_(connection), options_(options), tracker_(Goal::kAbsent) {}

  ExitCode Run(const std::vector<Target>& targets) {
    for (const Target& target : targets) {
      if (exit_code_ == ExitCode::kUnreachable) return exit_code_;
      // A host is refused while something is placed on it.
      if (target.kind == Kind::kHost) Wait();
      Delete(target);
    }
    Wait();
    return exit_code_;
  }

 private:
  void Delete(const Target& target) {
    const absl::Status status = Call(target);
    const std::string shown =
        absl::StrCat(KindNoun(target.kind), " ", ShortName(target.name, true));
    if (!status.ok()) {
      const ExitCode failed = session_.CallError(absl::StrCat("delete ", shown), status);
      if (exit_code_ == ExitCode::kOk || failed == ExitCode::kUnreachable) exit_code_ = failed;
      return;
    }
    const bool at_once = target.kind == Kind::kHost;
    session_.out() << shown << (at_once ? " deleted" : " deletion stored")
                   << (options_.dry_run ? " (dry run)" : "") << '\n';
    if (!at_once && !options_.dry_run) tracker_.Add(target.name);
  }

  absl::Status Call(const Target& target) {
    switch (target.kind) {
      case Kind::kHost:
        return Call(connection_.hosts(), &v1::HostService::Stub::DeleteHost,
                    Request<v1::DeleteHostRequest>(target));
      case Kind::kVirtualMachine: {
        auto request = Request<v1::DeleteVirtualMachineRequest>(target);
        request.set_force(target.force);
        return Call(connection_.virtual_machines(),
                    &v1::VirtualMachineService::Stub::DeleteVirtualMachine, request);
      }
      case Kind::kPasidBinding:
        return Call(connection_.bindings(), &v1::PasidBindingService::Stub::DeletePasidBinding,
                    Request<v1::DeletePasidBindingRequest>(target));
      case Kind::kDevice:
        break;
    }
    return absl::InternalError("devices are not deleted");
  }

  template <typename Message>
  Message Request(const Target& target) const {
    Message request;
    request.set_name(target.name);
    request.set_allow_missing(options_.ignore_not_found);
    request.set_validate_only(options_.dry_run);
    return request;
  }

  template <typename Stub, typename Message, typename Response>
  absl::Status Call(Stub& stub,
                    grpc::Status (Stub::*method)(grpc::ClientContext*, const Message&, Response*),
                    const Message& request) {
    return connection_.Call(stub, method, request).status();
  }

  // Waits, if asked to, until all that was deleted so far is gone.
  void Wait() {
    if (!options_.wait || wait_failed_ || tracker_.progress().Over()) return;
    const ExitCode waited =
        WaitFor(session_, connection_, tracker_, session_.Timeout(kDefaultWait));
    wait_failed_ = waited != ExitCode::kOk;
    if (exit_code_ == ExitCode::kOk) exit_code_ = waited;
  }

  const Session& session_;
  Connection& connection_;
  const DeleteOptions& options_;
  WaitTracker tracker_;
  bool wait_failed_ = false;
  ExitCode exit_code_ = ExitCode::kOk;
};

absl::StatusOr<std::vector<Target>> NamedTargets(const Session& session,
                                                 const DeleteOptions& options) {
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
  std::vector<Target> targets;
  for (size_t i = 1; i < words.size(); ++i) {
    auto name = FullName(*kind, words[i], session.project());
    if (!name.ok()) return name.status();
    targets.push_back({*kind, *std::move(name), options.force});
  }
  return targets;
}

absl::StatusOr<std::vector<Target>> ManifestTargets(const Session& session,
                                                    const DeleteOptions& options) {
  if (!options.kind_and_names.empty()) {
    return absl::InvalidArgumentError("names and -f exclude each other");
  }
  auto manifest = ReadManifest(options.files, session.in(), session.project());
  if (!manifest.ok()) return manifest.status();
  std::vector<Target> targets;
  for (const auto& binding : manifest->bindings) {
    targets.push_back({Kind::kPasidBinding, binding.resource.name(), false});
  }
  for (const auto& machine : manifest->virtual_machines) {
    targets.push_back({Kind::kVirtualMachine, machine.resource.name(),
                       options.force || machine.bindings.has_value()});
  }
  for (const auto& host : manifest->hosts) {
    targets.push_back({Kind::kHost, host.resource.name(), false});
  }
  return targets;
}

ExitCode RunDelete(const Session& session, const DeleteOptions& options) {
  auto targets =
      options.files.empty() ? NamedTargets(session, options) : ManifestTargets(session, options);
  if (!targets.ok()) return session.UsageError(targets.status());
  auto connection = session.Connect();
  if (!connection.ok()) return session.UsageError(connection.status());
  return Deleter(session, **connection, options).Run(*targets);
}

}  // namespace

void AddDeleteCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command = app->add_subcommand("delete", "Delete bindings, virtual machines or hosts");
  command->footer(kFooter);
  auto options = std::make_shared<DeleteOptions>();
  command->add_option("kind-and-names", options->kind_and_names,
                      "vm, binding or host, then the names");
  command->add_option("-f,--file", options->files, "Manifest file, directory, or - for stdin")
      ->allow_extra_args(false);
  command->add_flag("--force", options->force, "Delete a virtual machine's bindings with it");
  command->add_flag("--wait", options->wait, "Wait until all is gone from the hosts");
  command->add_flag("--ignore-not-found", options->ignore_not_found,
                    "What does not exist counts as deleted");
  command->add_flag("--dry-run", options->dry_run, "Do every check and change nothing");
  command->callback([&session, chosen, options] {
    *chosen = [&session, options] { return RunDelete(session, *options); };
  });
}

}  // namespace nestor::cli
