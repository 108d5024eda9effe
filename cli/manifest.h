// Manifests: files that say which hosts, virtual machines and bindings shall be.
//
// A manifest is one or more YAML documents (or JSON values; a list stands for its items).
// Each is a resource of the API as `nestorctl get -o yaml` prints it, with `kind`:
//
//   apiVersion: nestor.dev/v1          # optional, and no other is known
//   kind: VirtualMachine               # or Host, PasidBinding
//   name: projects/demo/virtualMachines/web-1   # or short: web-1, in --project
//   metadata: {labels: {tier: web}}    # optional
//   spec:
//     placement: {host: host-a, devices: [0000:01:00.0]}
//   bindings:                          # only here: ALL the machine's bindings
//   - name: sva-1
//     spec:
//       device: 0000:01:00.0
//       pasid: 1                       # or anyOf: {first: 1, last: 9}, or rid: {}
//       pageTable: {format: VTD_S1, root: 0x100000, addressWidth: 48}
//
// A PasidBinding document whose machine is in the same manifest counts as one of the
// machine's `bindings`. A machine with neither leaves its present bindings alone;
// `bindings: []` says that there shall be none.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nestor/v1/resources.pb.h"

namespace nestor::cli {

// A text and the name to use for it in messages.
struct ManifestSource {
  std::string file;
  std::string text;
};

// A resource with its full name and where it is written, as "file:line".
template <typename Resource>
struct Document {
  Resource resource;
  std::string origin;
};

// A virtual machine and what the manifest says about its bindings.
struct VirtualMachineDocument {
  v1::VirtualMachine resource;
  std::string origin;
  // All the bindings it shall have; unset: they stay as they are.
  std::optional<std::vector<Document<v1::PasidBinding>>> bindings;
};

// What a manifest says, each kind in the order written.
struct Manifest {
  std::vector<Document<v1::Host>> hosts;
  std::vector<VirtualMachineDocument> virtual_machines;
  // Bindings whose machine is not in the manifest.
  std::vector<Document<v1::PasidBinding>> bindings;
};

// Reads all `sources` as one manifest; short names are in `project`. INVALID_ARGUMENT with
// file:line:column for anything that is not understood: syntax, unknown or duplicate keys,
// wrong types, names out of form, the same resource twice, no resource at all. Whether the
// values are acceptable is for the server to say.
absl::StatusOr<Manifest> ParseManifest(const std::vector<ManifestSource>& sources,
                                       absl::string_view project);

}  // namespace nestor::cli
