// The key layout of the store: api/nestor/storage/v1/rows.proto says what lies under each.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "api/support/resource_name.h"

namespace nestor::server::keys {

// What is observed lies under keys that begin so, and nothing else does; likewise the next.
inline constexpr absl::string_view kObserved = "o";
inline constexpr absl::string_view kEpochs = "e/";
inline constexpr absl::string_view kRunEnds = "s/";  // in the order of their revisions

std::string Host(absl::string_view host);
std::string HostObserved(absl::string_view host);
std::string HostEvents(absl::string_view host);
std::string DeviceObserved(absl::string_view host, absl::string_view bdf);
std::string VirtualMachine(const VirtualMachineName& name);
std::string VirtualMachineObserved(const VirtualMachineName& name);
std::string PasidBinding(const PasidBindingName& name);
std::string PasidBindingObserved(const PasidBindingName& name);
// All bindings of a machine begin so.
std::string PasidBindingsOf(const VirtualMachineName& name);
std::string PasidClaim(absl::string_view host, absl::string_view bdf, uint32_t pasid);
std::string DeviceClaim(absl::string_view host, absl::string_view bdf);
std::string Epoch(absl::string_view host);
std::string HostFence(absl::string_view host);
std::string Departure(absl::string_view host, const VirtualMachineName& machine);
std::string DeparturesFrom(absl::string_view host);  // what all of its Departures begin with
// That a run of the server ended at `revision`; the row is empty.
std::string RunEnd(int64_t revision);
std::string Request(absl::string_view scope, absl::string_view request_id);

// The way back, of what follows a key's prefix: resource names; empty where it is no such key.
std::string VirtualMachineNameOf(absl::string_view rest);  // "{project}/{vm}"
std::string PasidBindingNameOf(absl::string_view rest);    // "{project}/{vm}/{binding}"

// The parts of a Departure key: the host's id, and the machine's resource name; empty where it is
// no such key.
std::pair<std::string, std::string> ParseDeparture(absl::string_view key);
// The revision of a RunEnd key; nothing where `key` is no such key.
std::optional<int64_t> ParseRunEnd(absl::string_view key);

// The parts of a PasidClaim key. They lie in it.
struct PasidClaimKey {
  absl::string_view host;
  absl::string_view bdf;
  uint32_t pasid = 0;
};
// Nothing where `key` is no such key.
std::optional<PasidClaimKey> ParsePasidClaim(absl::string_view key);

// Whether `key` is one of those above, with ids in their form.
bool IsKey(absl::string_view key);

}  // namespace nestor::server::keys
