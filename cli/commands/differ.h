// Shows what applying a manifest would change.
#pragma once

#include <set>
#include <string>

#include "absl/status/status.h"
#include "cli/commands/session.h"
#include "cli/intent_diff.h"
#include "cli/manifest.h"

namespace nestor::cli {

// Compares each resource of a manifest with the server's, and has the server check that it
// would take the change. Changes nothing. What the server would refuse is reported and does not
// keep the rest from being compared; a server that cannot be reached does.
class Differ {
 public:
  Differ(const Session& session, Connection& connection)
      : session_(session), connection_(connection) {}

  // kOk, or the exit code of the first failure.
  ExitCode Compare(const Manifest& manifest);
  // Whether anything differs.
  bool differs() const { return differs_; }

 private:
  absl::Status CompareHost(const v1::Host& host);
  absl::Status CompareMachine(const VirtualMachineDocument& document);
  absl::Status CompareBinding(const v1::PasidBinding& binding);
  // The machine's bindings: those created or changed, then those left out.
  absl::Status CompareBindings(const VirtualMachineDocument& document);

  // Shows what differs, if anything does; `before` is empty for what does not exist yet.
  template <typename Resource>
  void Show(Kind kind, const Resource& before, const Resource& wanted);
  void Show(Change change, Kind kind, const std::string& name,
            const std::vector<FieldChange>& fields);
  // Reports the failure, if it is one.
  void Take(const absl::Status& status, Kind kind, const std::string& name,
            const std::string& origin, const FieldLocator& locate = nullptr);
  bool Stopped() const { return exit_code_ == ExitCode::kUnreachable; }

  const Session& session_;
  Connection& connection_;
  // Would be created: the server cannot check yet what is placed on them.
  std::set<std::string> new_hosts_;
  bool differs_ = false;
  ExitCode exit_code_ = ExitCode::kOk;
};

}  // namespace nestor::cli
