// Makes the server's intent agree with a manifest.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "cli/commands/session.h"
#include "cli/manifest.h"
#include "cli/progress_line.h"
#include "cli/wait_tracker.h"

namespace nestor::cli {

// What applying did, in objects.
struct ApplyCounts {
  int created = 0;
  int updated = 0;
  int deleted = 0;
  int unchanged = 0;
};

// Applies resources one after the other, hosts first; each virtual machine with its
// bindings is one transaction. What the server refuses is reported and does not keep the
// rest from being applied; a server that cannot be reached does. Shows how it gets on.
class Applier {
 public:
  // `dry_run`: the server does every check and changes nothing.
  Applier(const Session& session, Connection& connection, bool dry_run)
      : session_(session),
        connection_(connection),
        dry_run_(dry_run),
        line_(session.err(), session.err_is_terminal(), dry_run ? "checked" : "applied"),
        start_(absl::Now()) {}

  // kOk, or the exit code of the first failure.
  ExitCode Apply(const Manifest& manifest);

  const ApplyCounts& counts() const { return counts_; }
  int failed() const { return progress_.failed; }
  // The newest store revision at which anything of the manifest was changed.
  int64_t revision() const { return revision_; }
  // Waits for the bindings that were applied.
  WaitTracker& tracker() { return tracker_; }

 private:
  void ApplyHost(const Document<v1::Host>& document);
  void ApplyMachine(const VirtualMachineDocument& document);
  void ApplyMachineAlone(const VirtualMachineDocument& document);
  void ApplyBinding(const Document<v1::PasidBinding>& document);

  // Reports one resource: what became of it, or why it was refused.
  void Report(const std::string& what, const ApplyCounts& counts);
  void ReportFailure(const std::string& what, const std::string& origin, const absl::Status& status,
                     const FieldLocator& locate);
  void ShowProgress();
  // Nothing more can be done.
  bool Stopped() const { return exit_code_ == ExitCode::kUnreachable; }

  const Session& session_;
  Connection& connection_;
  const bool dry_run_;
  ApplyCounts counts_;
  Progress progress_;
  ProgressLine line_;
  const absl::Time start_;
  int64_t revision_ = 0;
  WaitTracker tracker_{Goal::kProgrammed};
  ExitCode exit_code_ = ExitCode::kOk;
};

}  // namespace nestor::cli
