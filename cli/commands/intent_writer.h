// Makes one resource on the server as a manifest wants it.
#pragma once

#include "absl/status/statusor.h"
#include "cli/commands/connection.h"
#include "cli/commands/upsert.h"
#include "cli/manifest.h"

namespace nestor::cli {

// Each reads the resource, then creates it, updates it or leaves it. With `dry_run` the server
// does every check and changes nothing. Errors: as the API's Get, Create and Update methods.
absl::StatusOr<Upserted<v1::Host>> WriteHost(Connection& connection, const v1::Host& host,
                                             bool dry_run);
// Leaves its bindings alone.
absl::StatusOr<Upserted<v1::VirtualMachine>> WriteVirtualMachine(Connection& connection,
                                                                 const v1::VirtualMachine& machine,
                                                                 bool dry_run);
absl::StatusOr<Upserted<v1::PasidBinding>> WritePasidBinding(Connection& connection,
                                                             const v1::PasidBinding& binding,
                                                             bool dry_run);

// The machine and all its bindings in one transaction; `document.bindings` must be set. Errors:
// as the API's ApplyVirtualMachine.
absl::StatusOr<v1::ApplyVirtualMachineResponse> WriteWithBindings(
    Connection& connection, const VirtualMachineDocument& document, bool dry_run);

// The place of the binding that a refused field like `pasid_bindings[3].spec.device` speaks of:
// "web-1/sva-4 at fleet.yaml:40". Empty for any other field.
std::string LocateBinding(const VirtualMachineDocument& document, absl::string_view field);

}  // namespace nestor::cli
