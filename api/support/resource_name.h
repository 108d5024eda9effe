// Resource names: the only place where they are taken apart or put together.
//
// All parsing is bounded: a name over kMaxResourceNameLength bytes is refused before it
// is looked at. Ids never contain '/', control characters, or anything outside the
// alphabets of nestor/v1/resources.proto, so a valid name is always valid UTF-8.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

#include "absl/status/statusor.h"

namespace nestor {

inline constexpr size_t kMaxResourceNameLength = 256;

// `hosts/{host}`
struct HostName {
  std::string host;
  // INVALID_ARGUMENT with the part that is wrong and the expected form.
  static absl::StatusOr<HostName> Parse(absl::string_view name);
  std::string ToString() const;
  auto operator<=>(const HostName&) const = default;
};

// `hosts/{host}/devices/{bdf}`
struct DeviceName {
  std::string host;
  std::string bdf;
  static absl::StatusOr<DeviceName> Parse(absl::string_view name);
  std::string ToString() const;
  auto operator<=>(const DeviceName&) const = default;
};

// `projects/{project}/virtualMachines/{virtual_machine}`
struct VirtualMachineName {
  std::string project;
  std::string virtual_machine;
  static absl::StatusOr<VirtualMachineName> Parse(absl::string_view name);
  std::string ToString() const;
  auto operator<=>(const VirtualMachineName&) const = default;
};

// `projects/{project}/virtualMachines/{virtual_machine}/pasidBindings/{binding}`
struct PasidBindingName {
  std::string project;
  std::string virtual_machine;
  std::string binding;
  static absl::StatusOr<PasidBindingName> Parse(absl::string_view name);
  std::string ToString() const;
  VirtualMachineName Parent() const { return {project, virtual_machine}; }
  auto operator<=>(const PasidBindingName&) const = default;
};

// Parents of List requests; an id may be "-" (all), returned as empty.
absl::StatusOr<std::string> ParseHostParent(absl::string_view parent);     // hosts/{host|-}
absl::StatusOr<std::string> ParseProjectParent(absl::string_view parent);  // projects/{p|-}
absl::StatusOr<VirtualMachineName> ParseVirtualMachineParent(absl::string_view parent);

// The parts of `text` between slashes, where there are exactly N. They lie in `text`.
template <size_t N>
std::optional<std::array<absl::string_view, N>> SplitPath(absl::string_view text) {
  std::array<absl::string_view, N> parts;
  for (size_t i = 0; i + 1 < N; ++i) {
    const size_t slash = text.find('/');
    if (slash == absl::string_view::npos) return std::nullopt;
    parts[i] = text.substr(0, slash);
    text.remove_prefix(slash + 1);
  }
  if (text.find('/') != absl::string_view::npos) return std::nullopt;
  parts[N - 1] = text;
  return parts;
}

// Whether `id` may be that of a project, a virtual machine or a binding.
bool IsProjectResourceId(absl::string_view id);

// Whether `bdf` is a PCI address in the kernel's form dddd:bb:dd.f, lower-case
// hexadecimal, function 0-7.
bool IsBdf(absl::string_view bdf);

// `text` made safe to repeat in a message: at most 80 bytes, control and non-ASCII bytes
// shown as \xNN.
std::string Printable(absl::string_view text);

}  // namespace nestor
