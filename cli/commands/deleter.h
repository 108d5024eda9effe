// Deletes resources, and waits until the hosts have let go of them.
#pragma once

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/commands/session.h"
#include "cli/names.h"
#include "cli/wait_tracker.h"

namespace nestor::cli {

// Something to delete.
struct DeleteTarget {
  // Any but kDevice.
  Kind kind;
  // Full.
  std::string name;
  // A machine's bindings go with it.
  bool force = false;
};

struct DeleteOptions {
  bool wait = false;
  // What does not exist counts as deleted.
  bool ignore_not_found = false;
  // The server does every check and changes nothing.
  bool dry_run = false;
};

// Adds --wait, --ignore-not-found and --dry-run to a command; `options` must outlive it.
void AddDeleteOptions(CLI::App* command, DeleteOptions* options);

// What the server refuses is reported and does not keep the rest from being deleted; a server
// that cannot be reached does.
class Deleter {
 public:
  Deleter(const Session& session, Connection& connection, const DeleteOptions& options)
      : session_(session), connection_(connection), options_(options), tracker_(Goal::kAbsent) {}

  // Deletes in the order given. kOk, or the exit code of the first failure.
  ExitCode Run(const std::vector<DeleteTarget>& targets);

 private:
  void Delete(const DeleteTarget& target);
  absl::Status Call(const DeleteTarget& target);
  // Waits, if asked to, until all that was deleted so far is gone.
  void Wait();

  const Session& session_;
  Connection& connection_;
  const DeleteOptions options_;
  WaitTracker tracker_;
  bool wait_failed_ = false;
  ExitCode exit_code_ = ExitCode::kOk;
};

}  // namespace nestor::cli
