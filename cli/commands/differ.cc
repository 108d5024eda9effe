#include "cli/commands/differ.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/status_macros.h"
#include "cli/commands/intent_writer.h"
#include "cli/commands/resource_client.h"

namespace nestor::cli {
namespace {

// Has the server check the whole document; changes nothing.
absl::Status Check(Connection& connection, const VirtualMachineDocument& document) {
  constexpr bool kDryRun = true;
  if (document.bindings.has_value()) {
    return WriteWithBindings(connection, document, kDryRun).status();
  }
  return WriteVirtualMachine(connection, document.resource, kDryRun).status();
}

// An empty machine where there is none.
absl::StatusOr<v1::VirtualMachine> StoredMachine(Connection& connection, const std::string& name) {
  v1::GetVirtualMachineRequest request;
  request.set_name(name);
  auto machine = connection.Call(connection.virtual_machines(),
                                 &v1::VirtualMachineService::Stub::GetVirtualMachine, request);
  if (absl::IsNotFound(machine.status())) return v1::VirtualMachine();
  return machine;
}

}  // namespace

ExitCode Differ::Compare(const Manifest& manifest) {
  for (const auto& host : manifest.hosts) {
    if (Stopped()) break;
    Take(CompareHost(host.resource), Kind::kHost, host.resource.name(), host.origin);
  }
  for (const auto& machine : manifest.virtual_machines) {
    if (Stopped()) break;
    Take(CompareMachine(machine), Kind::kVirtualMachine, machine.resource.name(), machine.origin,
         [&machine](absl::string_view field) { return LocateBinding(machine, field); });
  }
  for (const auto& binding : manifest.bindings) {
    if (Stopped()) break;
    Take(CompareBinding(binding.resource), Kind::kPasidBinding, binding.resource.name(),
         binding.origin);
  }
  return exit_code_;
}

absl::Status Differ::CompareHost(const v1::Host& host) {
  ASSIGN_OR_RETURN(const auto result, WriteHost(connection_, host, /*dry_run=*/true));
  if (result.outcome == UpsertOutcome::kCreated) new_hosts_.insert(host.name());
  Show(Kind::kHost, result.before, host);
  return absl::OkStatus();
}

absl::Status Differ::CompareBinding(const v1::PasidBinding& binding) {
  ASSIGN_OR_RETURN(const auto result, WritePasidBinding(connection_, binding, /*dry_run=*/true));
  Show(Kind::kPasidBinding, result.before, binding);
  return absl::OkStatus();
}

absl::Status Differ::CompareMachine(const VirtualMachineDocument& document) {
  const v1::VirtualMachine& wanted = document.resource;
  ASSIGN_OR_RETURN(const v1::VirtualMachine stored, StoredMachine(connection_, wanted.name()));
  const bool host_is_new = new_hosts_.count(wanted.spec().placement().host()) > 0;
  if (!host_is_new) RETURN_IF_ERROR(Check(connection_, document));
  Show(Kind::kVirtualMachine, stored, wanted);
  return document.bindings.has_value() ? CompareBindings(document) : absl::OkStatus();
}

absl::Status Differ::CompareBindings(const VirtualMachineDocument& document) {
  std::map<std::string, v1::PasidBinding> left_out;
  RETURN_IF_ERROR(ListResources(
      connection_, {Kind::kPasidBinding, document.resource.name(), ""},
      [&](const google::protobuf::Message& message) {
        const auto& binding = static_cast<const v1::PasidBinding&>(message);
        // What is on its way out already is not deleted by this manifest.
        if (!binding.metadata().has_delete_time()) left_out[binding.name()] = binding;
      },
      [] { return true; }));
  for (const auto& binding : *document.bindings) {
    const std::string& name = binding.resource.name();
    auto stored = left_out.find(name);
    Show(Kind::kPasidBinding, stored == left_out.end() ? v1::PasidBinding() : stored->second,
         binding.resource);
    left_out.erase(name);
  }
  for (const auto& binding : left_out) {
    Show(Change::kDelete, Kind::kPasidBinding, binding.first, {});
  }
  return absl::OkStatus();
}

template <typename Resource>
void Differ::Show(Kind kind, const Resource& before, const Resource& wanted) {
  const std::vector<FieldChange> fields = DiffIntent(before, wanted);
  if (before.name().empty()) return Show(Change::kCreate, kind, wanted.name(), fields);
  if (!fields.empty()) Show(Change::kUpdate, kind, wanted.name(), fields);
}

void Differ::Show(Change change, Kind kind, const std::string& name,
                  const std::vector<FieldChange>& fields) {
  differs_ = true;
  session_.out() << ChangeText(change, kind, name, fields);
}

void Differ::Take(const absl::Status& status, Kind kind, const std::string& name,
                  const std::string& origin, const FieldLocator& locate) {
  if (status.ok()) return;
  const ExitCode code = session_.CallError(
      absl::StrCat("apply ", KindNoun(kind), " ", ShortName(name, true), " (", origin, ")"), status,
      locate);
  if (exit_code_ == ExitCode::kOk || code == ExitCode::kUnreachable) exit_code_ = code;
}

}  // namespace nestor::cli
