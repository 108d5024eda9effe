#include "agent/devices/device_inventory.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"
#include "agent/vfio/device_reset.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

DeviceCapabilities Unusable(absl::string_view reason, absl::string_view message) {
  DeviceCapabilities capabilities;
  capabilities.reason = std::string(reason);
  capabilities.message = std::string(message);
  return capabilities;
}

DeviceCapabilities NotPrepared(const absl::Status& status) {
  const std::string reason = GetReason(status);
  return Unusable(reason.empty() ? "PREPARE_FAILED" : reason, status.message());
}

DeviceCapabilities Quarantined(const absl::Status& reset) {
  return Unusable("DEVICE_QUARANTINED",
                  absl::StrCat("its last reset failed: ", reset.message(),
                               "; it is tried again, and the device is handed out once it "
                               "succeeds; if it never does, power-cycle the device"));
}

}  // namespace

DeviceInventory::DeviceInventory(kernel::Syscalls& syscalls, IommuBackend& backend,
                                 PreparationRecord record, DeviceInventoryOptions options)
    : syscalls_(syscalls),
      backend_(backend),
      options_(std::move(options)),
      record_(std::make_unique<PreparationRecord>(std::move(record))),
      drivers_(syscalls, *record_),
      preparations_(options_.prepare_backoff),
      resets_(options_.reset_backoff) {}

absl::Status DeviceInventory::Refresh(absl::Time now) {
  ASSIGN_OR_RETURN(std::vector<PciFunction> functions,
                   ListPciFunctions(syscalls_, PciFilter::kAll));
  std::map<Bdf, DeviceFacts> devices;
  for (PciFunction& function : functions) {
    Settle(&function, now);
    const bool is_ours = function.driver == kVfioPciDriver || options_.prepare.Selects(function) ||
                         record_->entries().contains(function.bdf);
    const Bdf bdf = function.bdf;
    if (is_ours) devices.emplace(bdf, Inspect(std::move(function)));
  }
  for (const auto& [bdf, facts] : devices_) {
    if (devices.contains(bdf)) continue;
    // What comes back has been without power, or in other hands.
    resets_.Erase(bdf);
    preparations_.Erase(bdf);
  }
  devices_ = std::move(devices);
  return absl::OkStatus();
}

void DeviceInventory::Settle(PciFunction* function, absl::Time now) {
  const bool selected = options_.prepare.Selects(*function);
  const bool is_done =
      selected ? function->driver == kVfioPciDriver : !record_->entries().contains(function->bdf);
  const FailedDevices::Failure* failure = preparations_.Find(function->bdf);
  if (is_done || (failure != nullptr && failure->retry_at > now)) return;
  const absl::Status status =
      selected ? drivers_.Prepare(function->bdf) : drivers_.GiveBack(function->bdf);
  preparations_.Take(function->bdf, status, now);
  if (auto read = ReadPciFunction(syscalls_, function->bdf); read.ok()) *function = *read;
}

DeviceFacts DeviceInventory::Inspect(PciFunction function) const {
  if (function.driver != kVfioPciDriver) {
    const FailedDevices::Failure* failure = preparations_.Find(function.bdf);
    const absl::Status status =
        failure != nullptr ? failure->status : absl::UnavailableError("it left vfio-pci by itself");
    return {std::move(function), NotPrepared(status)};
  }
  const auto known = devices_.find(function.bdf);
  const bool was_usable = known != devices_.end() && known->second.capabilities.reason.empty();
  if (was_usable && known->second.function == function) return known->second;
  const auto held = options_.held.find(function.bdf);
  DeviceFacts facts = ProbeFunction(backend_, std::move(function));
  // Probing cannot look into what a machine uses, and it does not change by that.
  if (was_usable && facts.capabilities.reason == "GROUP_BUSY") {
    facts.capabilities = known->second.capabilities;
  } else if (held != options_.held.end() && facts.capabilities.reason == "GROUP_BUSY") {
    facts.capabilities = held->second;
  }
  return facts;
}

void DeviceInventory::TakeReset(const Bdf& device, const absl::Status& outcome, absl::Time now) {
  // What has no reset cannot fail in it.
  const bool failed = !outcome.ok() && !absl::IsUnimplemented(outcome);
  resets_.Take(device, failed ? outcome : absl::OkStatus(), now);
}

std::vector<absl::Status> DeviceInventory::RetryResets(absl::Time now) {
  std::vector<absl::Status> outcomes;
  for (const Bdf& device : resets_.Due(now)) {
    const auto known = devices_.find(device);
    if (known == devices_.end() || known->second.function.driver != kVfioPciDriver) {
      resets_.Erase(device);
      continue;
    }
    const absl::Status outcome = ResetUnusedFunction(syscalls_, known->second.function);
    if (GetReason(outcome) == "GROUP_BUSY") {
      // Its new user resets it, too. Until that is told the last word stands.
      resets_.Take(device, absl::Status(resets_.Find(device)->status), now);
    } else {
      TakeReset(device, outcome, now);
      outcomes.push_back(outcome);
    }
  }
  return outcomes;
}

std::vector<DeviceFacts> DeviceInventory::Devices() const {
  std::vector<DeviceFacts> devices;
  for (const auto& [bdf, facts] : devices_) {
    DeviceFacts& device = devices.emplace_back(facts);
    const FailedDevices::Failure* reset = resets_.Find(bdf);
    if (reset != nullptr) device.capabilities = Quarantined(reset->status);
  }
  return devices;
}

std::optional<absl::Time> DeviceInventory::NextRetry() const {
  const std::optional<absl::Time> preparation = preparations_.NextRetry();
  const std::optional<absl::Time> reset = resets_.NextRetry();
  if (!preparation.has_value() || !reset.has_value()) return preparation ? preparation : reset;
  return std::min(*preparation, *reset);
}

}  // namespace nestor::agent
