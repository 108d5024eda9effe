// The short names that people type, and the full ones that the API takes.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace nestor::cli {

// A kind of resource.
enum class Kind { kHost, kDevice, kVirtualMachine, kPasidBinding };

// Reads a kind as typed: `vm`, `vms`, `virtualMachines`, `binding`, ... INVALID_ARGUMENT
// with a suggestion for any other word.
absl::StatusOr<Kind> ParseKind(absl::string_view word);

// For messages: "host", "device", "virtual machine", "binding".
absl::string_view KindNoun(Kind kind);

// The message name that `kind:` has in manifests and output: Host, Device, VirtualMachine,
// PasidBinding.
absl::string_view KindName(Kind kind);

// The full resource name for `name`, which is full already or short:
//   host            host-a
//   device          host-a/0000:01:00.0
//   virtual machine web-1          (in `project`)
//   binding         web-1/sva-3    (in `project`)
// INVALID_ARGUMENT where it is neither.
absl::StatusOr<std::string> FullName(Kind kind, absl::string_view name, absl::string_view project);

// The short form of a full name; with `with_project`, `demo/web-1` for
// `projects/demo/virtualMachines/web-1`. Anything that is no full name is returned as it is.
std::string ShortName(absl::string_view name, bool with_project = false);

// The project of a full name; empty for hosts and devices.
std::string ProjectOf(absl::string_view name);

}  // namespace nestor::cli
