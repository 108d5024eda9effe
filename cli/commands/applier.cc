#include "cli/commands/applier.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "cli/commands/upsert.h"
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

// Finds the binding that a field like `pasid_bindings[3].spec.device` speaks of.
std::string LocateBinding(const std::vector<Document<v1::PasidBinding>>& bindings,
                          absl::string_view field) {
  if (!absl::ConsumePrefix(&field, "pasid_bindings[")) return "";
  size_t index = 0;
  if (!absl::SimpleAtoi(field.substr(0, field.find(']')), &index)) return "";
  if (index >= bindings.size()) return "";
  return absl::StrCat(ShortName(bindings[index].resource.name()), " at ", bindings[index].origin);
}

}  // namespace

ExitCode Applier::Apply(const Manifest& manifest) {
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
  return exit_code_;
}

void Applier::ApplyHost(const Document<v1::Host>& document) {
  using Stub = v1::HostService::Stub;
  Stub& stub = connection_.hosts();
  auto result = Upsert(
      document.resource,
      [&](const std::string& name) {
        v1::GetHostRequest request;
        request.set_name(name);
        return connection_.Call(stub, &Stub::GetHost, request);
      },
      [&](const v1::Host& host) {
        v1::CreateHostRequest request;
        *request.mutable_host() = host;
        request.set_validate_only(dry_run_);
        return connection_.Call(stub, &Stub::CreateHost, request);
      },
      [&](const v1::Host& host) {
        v1::UpdateHostRequest request;
        *request.mutable_host() = host;
        request.set_validate_only(dry_run_);
        return connection_.Call(stub, &Stub::UpdateHost, request);
      });
  const std::string shown = Shown(Kind::kHost, document.resource.name());
  if (!result.ok()) return ReportFailure(shown, document.origin, result.status(), nullptr);
  revision_ = std::max(revision_, result->resource.metadata().revision());
  Report(shown, One(result->outcome));
}

void Applier::ApplyMachine(const VirtualMachineDocument& document) {
  v1::ApplyVirtualMachineRequest request;
  *request.mutable_virtual_machine() = document.resource;
  for (const auto& binding : *document.bindings) {
    *request.add_pasid_bindings() = binding.resource;
  }
  request.set_validate_only(dry_run_);
  auto reply = connection_.Call(connection_.virtual_machines(),
                                &v1::VirtualMachineService::Stub::ApplyVirtualMachine, request);
  const std::string shown = absl::StrCat(Shown(Kind::kVirtualMachine, document.resource.name()),
                                         " with ", Plural(document.bindings->size(), "binding"));
  if (!reply.ok()) {
    return ReportFailure(shown, document.origin, reply.status(), [&](absl::string_view field) {
      return LocateBinding(*document.bindings, field);
    });
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
  using Stub = v1::VirtualMachineService::Stub;
  Stub& stub = connection_.virtual_machines();
  auto result = Upsert(
      document.resource,
      [&](const std::string& name) {
        v1::GetVirtualMachineRequest request;
        request.set_name(name);
        return connection_.Call(stub, &Stub::GetVirtualMachine, request);
      },
      [&](const v1::VirtualMachine& machine) {
        v1::CreateVirtualMachineRequest request;
        *request.mutable_virtual_machine() = machine;
        request.set_validate_only(dry_run_);
        return connection_.Call(stub, &Stub::CreateVirtualMachine, request);
      },
      [&](const v1::VirtualMachine& machine) {
        v1::UpdateVirtualMachineRequest request;
        *request.mutable_virtual_machine() = machine;
        request.set_validate_only(dry_run_);
        return connection_.Call(stub, &Stub::UpdateVirtualMachine, request);
      });
  const std::string shown = Shown(Kind::kVirtualMachine, document.resource.name());
  if (!result.ok()) return ReportFailure(shown, document.origin, result.status(), nullptr);
  revision_ = std::max(revision_, result->resource.metadata().revision());
  Report(shown, One(result->outcome));
}

void Applier::ApplyBinding(const Document<v1::PasidBinding>& document) {
  using Stub = v1::PasidBindingService::Stub;
  Stub& stub = connection_.bindings();
  auto result = Upsert(
      document.resource,
      [&](const std::string& name) {
        v1::GetPasidBindingRequest request;
        request.set_name(name);
        return connection_.Call(stub, &Stub::GetPasidBinding, request);
      },
      [&](const v1::PasidBinding& binding) {
        v1::CreatePasidBindingRequest request;
        *request.mutable_pasid_binding() = binding;
        request.set_validate_only(dry_run_);
        return connection_.Call(stub, &Stub::CreatePasidBinding, request);
      },
      [&](const v1::PasidBinding& binding) {
        v1::UpdatePasidBindingRequest request;
        *request.mutable_pasid_binding() = binding;
        request.set_validate_only(dry_run_);
        return connection_.Call(stub, &Stub::UpdatePasidBinding, request);
      });
  const std::string shown = Shown(Kind::kPasidBinding, document.resource.name());
  if (!result.ok()) return ReportFailure(shown, document.origin, result.status(), nullptr);
  const v1::Metadata& metadata = result->resource.metadata();
  revision_ = std::max(revision_, metadata.revision());
  tracker_.Add(document.resource.name(), metadata.generation());
  Report(shown, One(result->outcome));
}

void Applier::Report(const std::string& what, const ApplyCounts& counts) {
  session_.out() << what << ": " << CountsText(counts) << (dry_run_ ? " (dry run)" : "") << '\n';
  counts_.created += counts.created;
  counts_.updated += counts.updated;
  counts_.deleted += counts.deleted;
  counts_.unchanged += counts.unchanged;
}

void Applier::ReportFailure(const std::string& what, const std::string& origin,
                            const absl::Status& status, const FieldLocator& locate) {
  ++failed_;
  const ExitCode code =
      session_.CallError(absl::StrCat("apply ", what, " (", origin, ")"), status, locate);
  if (exit_code_ == ExitCode::kOk || code == ExitCode::kUnreachable) exit_code_ = code;
}

}  // namespace nestor::cli
