#include "agent/vfio/driver_override.h"

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/core/kernel_error.h"
#include "agent/vfio/device_reset.h"
#include "agent/vfio/refusal.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

constexpr absl::string_view kPciBus = "/sys/bus/pci";
// How the kernel shows that there is no override.
constexpr absl::string_view kNone = "(null)";

std::string OverridePath(const Bdf& device) {
  return absl::StrCat(kPciBus, "/devices/", device, "/driver_override");
}

std::string DriverPath(absl::string_view driver, absl::string_view attribute) {
  return absl::StrCat(kPciBus, "/drivers/", driver, "/", attribute);
}

std::string ProbePath() { return absl::StrCat(kPciBus, "/drivers_probe"); }

// `fallback` where nothing failed that could say more.
absl::Status FirstError(const std::vector<absl::Status>& results, const absl::Status& fallback) {
  for (const absl::Status& result : results) {
    if (!result.ok()) return result;
  }
  return fallback;
}

absl::Status NotTakenByVfio(const PciFunction& function) {
  return Refuse("DRIVER_NOT_VFIO",
                absl::StrCat("vfio-pci did not take ", function.bdf,
                             ": load it with `modprobe vfio-pci` and look at the kernel log"));
}

absl::Status NotTakenBack(const PciFunction& function, const HostDriver& before) {
  return Refuse("HOST_DRIVER_MISSING",
                absl::StrCat("driver ", before.driver, " did not take ", function.bdf,
                             " back: load it with `modprobe ", before.driver, "`"));
}

absl::Status CheckUnused(kernel::Syscalls& syscalls, const PciFunction& function) {
  return OpenUnusedGroup(syscalls, function).status();
}

absl::Status CheckNoVirtualFunctions(const PciFunction& function) {
  if (function.virtual_functions == 0) return absl::OkStatus();
  return Refuse("HAS_VIRTUAL_FUNCTIONS",
                absl::StrCat(function.bdf, " has ", function.virtual_functions,
                             " virtual functions, which would go with its driver: prepare those, "
                             "or write 0 to its sriov_numvfs"));
}

}  // namespace

absl::Status DriverOverride::Write(const std::string& path, const std::string& content) {
  const int result = syscalls_.WriteFile(path, content);
  return result < 0 ? KernelErrorStatus({"write", path, -result}) : absl::OkStatus();
}

absl::StatusOr<std::string> DriverOverride::ReadOverride(const Bdf& device) const {
  const std::string path = OverridePath(device);
  std::string content;
  if (const int result = syscalls_.ReadFile(path, &content); result < 0) {
    return KernelErrorStatus({"read", path, -result});
  }
  absl::StripAsciiWhitespace(&content);
  return content == kNone ? "" : content;
}

absl::Status DriverOverride::SetOverride(const Bdf& device, const std::string& driver) {
  // A write of nothing would not reach the attribute.
  return Write(OverridePath(device), absl::StrCat(driver, "\n"));
}

absl::Status DriverOverride::CheckNoSiblings(const PciFunction& function) const {
  if (function.group_siblings.empty()) return absl::OkStatus();
  std::vector<std::string> siblings;
  for (const Bdf& bdf : function.group_siblings) {
    const absl::StatusOr<PciFunction> sibling = ReadPciFunction(syscalls_, bdf);
    const bool is_bound = sibling.ok() && !sibling->driver.empty();
    siblings.push_back(is_bound ? absl::StrCat(bdf, " (", sibling->driver, ")") : bdf);
  }
  return Refuse("GROUP_SHARED",
                absl::StrCat(function.bdf, " shares IOMMU group ", function.iommu_group, " with ",
                             absl::StrJoin(siblings, ", "),
                             ": move it to a slot of its own, or one behind a switch with ACS"));
}

absl::Status DriverOverride::Prepare(const Bdf& device) {
  ASSIGN_OR_RETURN(const PciFunction function, ReadPciFunction(syscalls_, device));
  if (function.driver == kVfioPciDriver) return absl::OkStatus();
  RETURN_IF_ERROR(CheckHasGroup(function));
  RETURN_IF_ERROR(CheckNoSiblings(function));
  RETURN_IF_ERROR(CheckNoVirtualFunctions(function));
  RETURN_IF_ERROR(Record(function));
  const absl::Status status = BindToVfio(function);
  // Where the way back fails too, the record keeps it for another time.
  if (!status.ok()) (void)GiveBack(device);
  return status;
}

absl::Status DriverOverride::Record(const PciFunction& function) {
  if (record_.entries().contains(function.bdf)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string override, ReadOverride(function.bdf));
  return record_.Put(function.bdf, {function.driver, override});
}

absl::Status DriverOverride::BindToVfio(const PciFunction& function) {
  RETURN_IF_ERROR(SetOverride(function.bdf, std::string(kVfioPciDriver)));
  std::vector<absl::Status> results;
  if (!function.driver.empty()) {
    results.push_back(Write(DriverPath(function.driver, "unbind"), function.bdf));
  }
  results.push_back(Write(ProbePath(), function.bdf));
  ASSIGN_OR_RETURN(const PciFunction now, ReadPciFunction(syscalls_, function.bdf));
  if (now.driver == kVfioPciDriver) return absl::OkStatus();
  return FirstError(results, NotTakenByVfio(function));
}

absl::Status DriverOverride::GiveBack(const Bdf& device) {
  const auto entry = record_.entries().find(device);
  if (entry == record_.entries().end()) return absl::OkStatus();
  const absl::StatusOr<PciFunction> function = ReadPciFunction(syscalls_, device);
  if (absl::IsNotFound(function.status())) return record_.Remove(device);
  if (!function.ok()) return function.status();
  if (function->driver == kVfioPciDriver) RETURN_IF_ERROR(CheckUnused(syscalls_, *function));
  RETURN_IF_ERROR(BindToHost(*function, entry->second));
  return record_.Remove(device);
}

absl::Status DriverOverride::BindToHost(const PciFunction& function, const HostDriver& before) {
  RETURN_IF_ERROR(SetOverride(function.bdf, before.override));
  if (function.driver == before.driver) return absl::OkStatus();
  std::vector<absl::Status> results;
  if (!function.driver.empty()) {
    results.push_back(Write(DriverPath(function.driver, "unbind"), function.bdf));
  }
  if (!before.driver.empty()) {
    results.push_back(Write(DriverPath(before.driver, "bind"), function.bdf));
  }
  ASSIGN_OR_RETURN(const PciFunction now, ReadPciFunction(syscalls_, function.bdf));
  if (now.driver == before.driver) return absl::OkStatus();
  return FirstError(results, NotTakenBack(function, before));
}

}  // namespace nestor::agent
