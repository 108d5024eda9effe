// A name that parses is the name that its parts make, and is of one kind only.
#include <algorithm>

#include "api/support/resource_name.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace nestor::fuzz {
namespace {

// Whether it parsed.
template <typename Name>
bool CheckName(absl::string_view text) {
  const absl::StatusOr<Name> name = Name::Parse(text);
  if (!name.ok()) {
    FUZZ_CHECK(name.status().code() == absl::StatusCode::kInvalidArgument);
    FUZZ_CHECK(name.status().message().size() < 512);
    return false;
  }
  FUZZ_CHECK(name->ToString() == text);
  FUZZ_CHECK(text.size() <= kMaxResourceNameLength);
  FUZZ_CHECK(Printable(text.substr(0, 80)) == text.substr(0, 80));
  return true;
}

bool IsPrintableAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

}  // namespace

void FuzzResourceName(absl::string_view bytes) {
  const bool is_host = CheckName<HostName>(bytes);
  const bool is_machine = CheckName<VirtualMachineName>(bytes);
  const bool is_binding = CheckName<PasidBindingName>(bytes);
  FUZZ_CHECK(is_host + CheckName<DeviceName>(bytes) + is_machine + is_binding <= 1);
  if (is_binding)
    CheckName<VirtualMachineName>(PasidBindingName::Parse(bytes)->Parent().ToString());

  // Every name of the kind that a parent stands for is a parent as well.
  FUZZ_CHECK(ParseHostParent(bytes).ok() == (is_host || bytes == "hosts/-"));
  const auto project = ParseProjectParent(bytes);
  FUZZ_CHECK(!project.ok() || bytes == "projects/" + (project->empty() ? "-" : *project));
  const auto machine = ParseVirtualMachineParent(bytes);
  FUZZ_CHECK(machine.ok() || !is_machine);

  FUZZ_CHECK(!IsBdf(bytes) || DeviceName::Parse("hosts/h/devices/" + std::string(bytes)).ok());
  FUZZ_CHECK(IsPrintableAscii(Printable(bytes)));
  FUZZ_CHECK(Printable(bytes).size() <= 83);
}

}  // namespace nestor::fuzz
