#include "cli/resource_table.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "api/support/resource_name.h"
#include "cli/enum_name.h"
#include "cli/text.h"

namespace nestor::cli {
namespace {

using Cells = std::vector<std::string>;

Cells Widened(Cells cells, bool wide, const Cells& more) {
  if (wide) cells.insert(cells.end(), more.begin(), more.end());
  return cells;
}

// Why an accepted binding is not yet programmed; empty where nobody said.
std::string WaitingReason(const v1::PasidBindingStatus& status) {
  if (status.has_failure()) return status.failure().reason();
  for (const v1::Condition& condition : status.conditions()) {
    if (condition.type() == "Programmed" && condition.status() != v1::Condition::TRUTH_TRUE) {
      return condition.reason();
    }
  }
  return "";
}

}  // namespace

std::string BindingStateText(const v1::PasidBinding& binding) {
  const v1::PasidBindingStatus& status = binding.status();
  std::string state = ShortEnumName(status.state());
  if (status.state() == v1::PasidBindingStatus::STATE_PROGRAMMED) return state;
  const std::string reason = WaitingReason(status);
  if (reason.empty()) return state;
  const bool retried = status.state() == v1::PasidBindingStatus::STATE_FAILED &&
                       status.failure().kind() == v1::Failure::KIND_TRANSIENT;
  return absl::StrCat(state, " (", TerminalSafe(reason), retried ? ", retried" : "", ")");
}

Cells TableHeader(Kind kind, const TableOptions& options) {
  switch (kind) {
    case Kind::kHost:
      return Widened({"NAME", "STATE", "CORDONED", "ORPHANS", "LAST SEEN", "AGE"}, options.wide,
                     {"EPOCH", "AGENT", "BOOT ID"});
    case Kind::kDevice:
      return Widened({"NAME", "DRIVER", "NESTING", "INTERFACE", "PASIDS", "USED BY"}, options.wide,
                     {"GROUP", "NUMA", "ID", "ADDRESS WIDTH", "REASON"});
    case Kind::kVirtualMachine:
      return Widened({"NAME", "HOST", "DEVICES", "STATE", "PROGRAMMED", "AGE"}, options.wide,
                     {"INSTANCE", "UID", "GENERATION"});
    case Kind::kPasidBinding:
      return Widened({"NAME", "DEVICE", "PASID", "ROOT", "STATE", "AGE"}, options.wide,
                     {"KERNEL ROOT", "GENERATION", "ATTEMPTS", "FORMAT", "INSTANCE"});
  }
  return {};
}

Cells TableRow(const v1::Host& host, const TableOptions& options) {
  const v1::HostStatus& status = host.status();
  return Widened(
      {ShortName(host.name()), ShortEnumName(status.state()), host.spec().cordoned() ? "yes" : "no",
       absl::StrCat(status.orphans_size()), AgeText(status.last_seen_time(), options.now),
       AgeText(host.metadata().create_time(), options.now)},
      options.wide,
      {absl::StrCat(status.epoch()), OrDash(status.agent_version()), OrDash(status.boot_id())});
}

Cells TableRow(const v1::Device& device, const TableOptions& options) {
  const v1::DeviceStatus& status = device.status();
  const uint32_t last_pasid = status.pasid_bits() == 0 ? 0 : (1u << status.pasid_bits()) - 1;
  return Widened({ShortName(device.name()), OrDash(status.driver()),
                  ShortEnumName(status.nest_granularity()), ShortEnumName(status.iommu_interface()),
                  last_pasid == 0 ? "-" : absl::StrCat("1-", last_pasid),
                  OrDash(ShortName(status.virtual_machine(), true))},
                 options.wide,
                 {status.iommu_group() < 0 ? "-" : absl::StrCat(status.iommu_group()),
                  status.numa_node() < 0 ? "-" : absl::StrCat(status.numa_node()),
                  absl::StrCat(absl::Hex(status.vendor_id(), absl::kZeroPad4), ":",
                               absl::Hex(status.device_id(), absl::kZeroPad4)),
                  absl::StrCat(status.address_width()), OrDash(status.reason())});
}

Cells TableRow(const v1::VirtualMachine& machine, const TableOptions& options) {
  const v1::Placement& placement = machine.spec().placement();
  const v1::VirtualMachineStatus& status = machine.status();
  return Widened(
      {ShortName(machine.name(), options.with_project), OrDash(ShortName(placement.host())),
       OrDash(absl::StrJoin(placement.devices(), ",")), ShortEnumName(status.state()),
       absl::StrCat(status.programmed_bindings(), "/", status.bindings()),
       AgeText(machine.metadata().create_time(), options.now)},
      options.wide,
      {OrDash(status.vm_instance()), OrDash(machine.metadata().uid()),
       absl::StrCat(machine.metadata().generation())});
}

Cells TableRow(const v1::PasidBinding& binding, const TableOptions& options) {
  const v1::PasidBindingSpec& spec = binding.spec();
  const v1::PasidBindingStatus& status = binding.status();
  const std::string pasid =
      status.effective_pasid() == 0 ? TargetText(spec) : absl::StrCat(status.effective_pasid());
  return Widened({ShortName(binding.name(), options.with_project), OrDash(spec.device()), pasid,
                  AddressText(spec.page_table().root()), BindingStateText(binding),
                  AgeText(binding.metadata().create_time(), options.now)},
                 options.wide,
                 {AddressText(status.programmed_root()),
                  absl::StrCat(binding.metadata().generation()), absl::StrCat(status.attempts()),
                  ShortEnumName(spec.page_table().format()), OrDash(status.vm_instance())});
}

}  // namespace nestor::cli
