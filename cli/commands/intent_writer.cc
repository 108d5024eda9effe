#include "cli/commands/intent_writer.h"

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/names.h"

namespace nestor::cli {

absl::StatusOr<Upserted<v1::Host>> WriteHost(Connection& connection, const v1::Host& host,
                                             bool dry_run) {
  using Stub = v1::HostService::Stub;
  Stub& stub = connection.hosts();
  return Upsert(
      host,
      [&](const std::string& name) {
        v1::GetHostRequest request;
        request.set_name(name);
        return connection.Call(stub, &Stub::GetHost, request);
      },
      [&](const v1::Host& wanted) {
        v1::CreateHostRequest request;
        *request.mutable_host() = wanted;
        request.set_validate_only(dry_run);
        return connection.Call(stub, &Stub::CreateHost, request);
      },
      [&](const v1::Host& wanted) {
        v1::UpdateHostRequest request;
        *request.mutable_host() = wanted;
        request.set_validate_only(dry_run);
        return connection.Call(stub, &Stub::UpdateHost, request);
      });
}

absl::StatusOr<Upserted<v1::VirtualMachine>> WriteVirtualMachine(Connection& connection,
                                                                 const v1::VirtualMachine& machine,
                                                                 bool dry_run) {
  using Stub = v1::VirtualMachineService::Stub;
  Stub& stub = connection.virtual_machines();
  return Upsert(
      machine,
      [&](const std::string& name) {
        v1::GetVirtualMachineRequest request;
        request.set_name(name);
        return connection.Call(stub, &Stub::GetVirtualMachine, request);
      },
      [&](const v1::VirtualMachine& wanted) {
        v1::CreateVirtualMachineRequest request;
        *request.mutable_virtual_machine() = wanted;
        request.set_validate_only(dry_run);
        return connection.Call(stub, &Stub::CreateVirtualMachine, request);
      },
      [&](const v1::VirtualMachine& wanted) {
        v1::UpdateVirtualMachineRequest request;
        *request.mutable_virtual_machine() = wanted;
        request.set_validate_only(dry_run);
        return connection.Call(stub, &Stub::UpdateVirtualMachine, request);
      });
}

absl::StatusOr<Upserted<v1::PasidBinding>> WritePasidBinding(Connection& connection,
                                                             const v1::PasidBinding& binding,
                                                             bool dry_run) {
  using Stub = v1::PasidBindingService::Stub;
  Stub& stub = connection.bindings();
  return Upsert(
      binding,
      [&](const std::string& name) {
        v1::GetPasidBindingRequest request;
        request.set_name(name);
        return connection.Call(stub, &Stub::GetPasidBinding, request);
      },
      [&](const v1::PasidBinding& wanted) {
        v1::CreatePasidBindingRequest request;
        *request.mutable_pasid_binding() = wanted;
        request.set_validate_only(dry_run);
        return connection.Call(stub, &Stub::CreatePasidBinding, request);
      },
      [&](const v1::PasidBinding& wanted) {
        v1::UpdatePasidBindingRequest request;
        *request.mutable_pasid_binding() = wanted;
        request.set_validate_only(dry_run);
        return connection.Call(stub, &Stub::UpdatePasidBinding, request);
      });
}

absl::StatusOr<v1::ApplyVirtualMachineResponse> WriteWithBindings(
    Connection& connection, const VirtualMachineDocument& document, bool dry_run) {
  v1::ApplyVirtualMachineRequest request;
  *request.mutable_virtual_machine() = document.resource;
  for (const auto& binding : *document.bindings) {
    *request.add_pasid_bindings() = binding.resource;
  }
  request.set_validate_only(dry_run);
  return connection.Call(connection.virtual_machines(),
                         &v1::VirtualMachineService::Stub::ApplyVirtualMachine, request);
}

std::string LocateBinding(const VirtualMachineDocument& document, absl::string_view field) {
  if (!absl::ConsumePrefix(&field, "pasid_bindings[")) return "";
  size_t index = 0;
  if (!absl::SimpleAtoi(field.substr(0, field.find(']')), &index)) return "";
  if (!document.bindings.has_value() || index >= document.bindings->size()) return "";
  const auto& binding = (*document.bindings)[index];
  return absl::StrCat(ShortName(binding.resource.name()), " at ", binding.origin);
}

}  // namespace nestor::cli
