#include "cli/commands/deleter.h"

#include "absl/strings/str_cat.h"
#include "cli/commands/waiting.h"

namespace nestor::cli {
namespace {

template <typename Message>
Message Request(const DeleteTarget& target, const DeleteOptions& options) {
  Message request;
  request.set_name(target.name);
  request.set_allow_missing(options.ignore_not_found);
  request.set_validate_only(options.dry_run);
  return request;
}

}  // namespace

void AddDeleteOptions(CLI::App* command, DeleteOptions* options) {
  command->add_flag("--wait", options->wait,
                    "Wait until all is gone from the hosts (--timeout, 60s)");
  command->add_flag("--ignore-not-found", options->ignore_not_found,
                    "What does not exist counts as deleted");
  command->add_flag("--dry-run", options->dry_run,
                    "Have the server do every check and change nothing");
}

ExitCode Deleter::Run(const std::vector<DeleteTarget>& targets) {
  for (const DeleteTarget& target : targets) {
    if (exit_code_ == ExitCode::kUnreachable) return exit_code_;
    // A host is refused while something is placed on it.
    if (target.kind == Kind::kHost) Wait();
    Delete(target);
  }
  Wait();
  return exit_code_;
}

void Deleter::Delete(const DeleteTarget& target) {
  const absl::Status status = Call(target);
  const std::string shown = absl::StrCat(KindNoun(target.kind), " ", ShortName(target.name, true));
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

absl::Status Deleter::Call(const DeleteTarget& target) {
  switch (target.kind) {
    case Kind::kHost:
      return connection_
          .Call(connection_.hosts(), &v1::HostService::Stub::DeleteHost,
                Request<v1::DeleteHostRequest>(target, options_))
          .status();
    case Kind::kVirtualMachine: {
      auto request = Request<v1::DeleteVirtualMachineRequest>(target, options_);
      request.set_force(target.force);
      return connection_
          .Call(connection_.virtual_machines(),
                &v1::VirtualMachineService::Stub::DeleteVirtualMachine, request)
          .status();
    }
    case Kind::kPasidBinding:
      return connection_
          .Call(connection_.bindings(), &v1::PasidBindingService::Stub::DeletePasidBinding,
                Request<v1::DeletePasidBindingRequest>(target, options_))
          .status();
    case Kind::kDevice:
      break;
  }
  return absl::InternalError("devices are not deleted");
}

void Deleter::Wait() {
  if (!options_.wait || wait_failed_ || tracker_.progress().Over()) return;
  session_.out().flush();
  const ExitCode waited = WaitFor(session_, connection_, tracker_, session_.Timeout(kDefaultWait));
  wait_failed_ = waited != ExitCode::kOk;
  if (exit_code_ == ExitCode::kOk) exit_code_ = waited;
}

}  // namespace nestor::cli
