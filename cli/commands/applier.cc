#include "cli/commands/applier.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "cli/commands/intent_writer.h"
#include "cli/names.h"

namespace nestor::cli {
namespace {

std::string Plural(size_t count, absl::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

std::string Shown(Kind kind, const std::string& name) {
  return absl::StrCat(KindNoun(kind), " ", ShortName(name, true));
}

ApplyCounts One(UpsertOutcome outcome) {
  ApplyCounts counts;
  counts.created = outcome == UpsertOutcome::kCreated;
  counts.updated = outcome == UpsertOutcome::kUpdated;
  counts.unchanged = outcome == UpsertOutcome::kUnchanged;
  return counts;
}

// "11 created", "1 updated, 10 unchanged"; without the number for a single object.
std::string CountsText(const ApplyCounts& counts) {
  const bool single = counts.created + counts.updated + counts.deleted + counts.unchanged == 1;
  std::vector<std::string> parts;
  auto add = [&](int count, absl::string_view word) {
    if (count > 0) parts.push_back(single ? std::string(word) : absl::StrCat(count, " ", word));
  };
  add(counts.created, "created");
  add(counts.updated, "updated");
  add(counts.deleted, "deleted");
  add(counts.unchanged, "unchanged");
  return absl::StrJoin(parts, ", ");
}

}  // namespace

ExitCode Applier::Apply(const Manifest& manifest) {
  progress_.total = static_cast<int>(manifest.hosts.size() + manifest.virtual_machines.size() +
                                     manifest.bindings.size());
  for (const auto& host : manifest.hosts) {
    if (!Stopped()) ApplyHost(host);
  }
  for (const auto& machine : manifest.virtual_machines) {
    if (!Stopped())
      machine.bindings.has_value() ? ApplyMachine(machine) : ApplyMachineAlone(machine);
  }
  for (const auto& binding : manifest.bindings) {
    if (!Stopped()) ApplyBinding(binding);
  }
  line_.Hide();
  return exit_code_;
}

void Applier::ApplyHost(const Document<v1::Host>& document) {
  auto result = WriteHost(connection_, document.resource, dry_run_);
  const std::string shown = Shown(Kind::kHost, document.resource.name());
  if (!result.ok()) return ReportFailure(shown, document.origin, result.status(), nullptr);
  revision_ = std::max(revision_, result->resource.metadata().revision());
  Report(shown, One(result->outcome));
}

void Applier::ApplyMachine(const VirtualMachineDocument& document) {
  auto reply = WriteWithBindings(connection_, document, dry_run_);
  const std::string shown = absl::StrCat(Shown(Kind::kVirtualMachine, document.resource.name()),
                                         " with ", Plural(document.bindings->size(), "binding"));
  if (!reply.ok()) {
    return ReportFailure(shown, document.origin, reply.status(),
                         [&](absl::string_view field) { return LocateBinding(document, field); });
  }
  // The reply's own revision moves on with other people's changes when this one is empty.
  const bool changed = reply->created() + reply->updated() + reply->deleted() > 0;
  if (changed) revision_ = std::max(revision_, reply->revision());
  revision_ = std::max(revision_, reply->virtual_machine().metadata().revision());
  for (const v1::PasidBinding& binding : reply->pasid_bindings()) {
    revision_ = std::max(revision_, binding.metadata().revision());
    tracker_.Add(binding.name(), binding.metadata().generation());
  }
  Report(shown, {reply->created(), reply->updated(), reply->deleted(), reply->unchanged()});
}

void Applier::ApplyMachineAlone(const VirtualMachineDocument& document) {
  auto result = WriteVirtualMachine(connection_, document.resource, dry_run_);
  const std::string shown = Shown(Kind::kVirtualMachine, document.resource.name());
  if (!result.ok()) return ReportFailure(shown, document.origin, result.status(), nullptr);
  revision_ = std::max(revision_, result->resource.metadata().revision());
  Report(shown, One(result->outcome));
}

void Applier::ApplyBinding(const Document<v1::PasidBinding>& document) {
  auto result = WritePasidBinding(connection_, document.resource, dry_run_);
  const std::string shown = Shown(Kind::kPasidBinding, document.resource.name());
  if (!result.ok()) return ReportFailure(shown, document.origin, result.status(), nullptr);
  const v1::Metadata& metadata = result->resource.metadata();
  revision_ = std::max(revision_, metadata.revision());
  tracker_.Add(document.resource.name(), metadata.generation());
  Report(shown, One(result->outcome));
}

void Applier::Report(const std::string& what, const ApplyCounts& counts) {
  line_.Hide();
  // Flushed before the bar comes back, since both may be on one terminal.
  session_.out() << what << ": " << CountsText(counts) << (dry_run_ ? " (dry run)" : "") << '\n'
                 << std::flush;
  counts_.created += counts.created;
  counts_.updated += counts.updated;
  counts_.deleted += counts.deleted;
  counts_.unchanged += counts.unchanged;
  ++progress_.done;
  ShowProgress();
}

void Applier::ReportFailure(const std::string& what, const std::string& origin,
                            const absl::Status& status, const FieldLocator& locate) {
  line_.Hide();
  const ExitCode code =
      session_.CallError(absl::StrCat("apply ", what, " (", origin, ")"), status, locate);
  if (exit_code_ == ExitCode::kOk || code == ExitCode::kUnreachable) exit_code_ = code;
  ++progress_.failed;
  ShowProgress();
}

void Applier::ShowProgress() {
  if (progress_.total > 1) line_.Update(progress_, absl::Now() - start_);
}

}  // namespace nestor::cli
