#include "agent/devices/device_keeper.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "api/support/log.h"

namespace nestor::agent {
namespace {

std::string Describe(const DeviceCapabilities& found) {
  return found.reason.empty() ? absl::StrCat("nests, ", found.pasid_bits, " PASID bits")
                              : absl::StrCat(found.reason, ": ", found.message);
}

std::map<Bdf, std::string> Descriptions(const std::vector<DeviceFacts>& devices) {
  std::map<Bdf, std::string> descriptions;
  for (const DeviceFacts& facts : devices) {
    descriptions[facts.function.bdf] =
        absl::StrCat("group ", facts.function.iommu_group, ": ", Describe(facts.capabilities));
  }
  return descriptions;
}

void LogChanges(const std::vector<DeviceFacts>& from, const std::vector<DeviceFacts>& to) {
  const std::map<Bdf, std::string> before = Descriptions(from);
  const std::map<Bdf, std::string> now = Descriptions(to);
  for (const auto& [bdf, text] : now) {
    const auto known = before.find(bdf);
    if (known == before.end() || known->second != text) log::Info({}, "device {} {}", bdf, text);
  }
  for (const auto& [bdf, text] : before) {
    if (!now.contains(bdf)) log::Warn({}, "device {} is gone", bdf);
  }
}

}  // namespace

DeviceKeeper::DeviceKeeper(std::unique_ptr<DeviceInventory> inventory, kernel::DeviceEvents& events,
                           const Clock& clock, DeviceKeeperOptions options)
    : inventory_(std::move(inventory)),
      events_(events),
      clock_(clock),
      options_(std::move(options)),
      told_(inventory_->Devices()) {}

void DeviceKeeper::Start() {
  LogChanges({}, told_);
  thread_ = std::thread([this] { Run(); });
}

DeviceKeeper::~DeviceKeeper() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  events_.Interrupt();
  if (thread_.joinable()) thread_.join();
}

void DeviceKeeper::OnReset(const Bdf& device, const absl::Status& outcome) {
  {
    const std::lock_guard lock(mutex_);
    resets_.emplace_back(device, outcome);
  }
  events_.Interrupt();
}

void DeviceKeeper::Run() {
  while (WaitForWork()) Work();
}

bool DeviceKeeper::WaitForWork() {
  absl::Duration longest = options_.rescan;
  if (const std::optional<absl::Time> retry = inventory_->NextRetry()) {
    longest = std::clamp(*retry - clock_.Now(), absl::ZeroDuration(), longest);
  }
  events_.Wait(longest);
  std::vector<std::pair<Bdf, absl::Status>> resets;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    resets.swap(resets_);
  }
  for (const auto& [device, outcome] : resets) {
    inventory_->TakeReset(device, outcome, clock_.Now());
  }
  return true;
}

void DeviceKeeper::Work() {
  if (const absl::Status status = inventory_->Refresh(clock_.Now()); !status.ok()) {
    log::Warn({}, "cannot look for devices: {}", log::Text(status));
  }
  for (const absl::Status& outcome : inventory_->RetryResets(clock_.Now())) {
    if (options_.on_reset) options_.on_reset(outcome);
  }
  std::vector<DeviceFacts> devices = inventory_->Devices();
  if (devices == told_) return;
  LogChanges(told_, devices);
  told_ = devices;
  options_.on_change(std::move(devices));
}

}  // namespace nestor::agent
