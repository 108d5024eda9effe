#include "agent/shim/shim_core.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"
#include "agent/shim/failure.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

absl::Status NotAttached(const Bdf& device) {
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat(device, " is not attached to this machine")),
      "DEVICE_NOT_ATTACHED");
}

absl::Status Unplugged(const Bdf& device) {
  return WithReason(absl::UnavailableError(absl::StrCat(device, " is unplugged from the host")),
                    "DEVICE_UNPLUGGED");
}

absl::Status NoMonitor(const Bdf& device) {
  return absl::FailedPreconditionError(absl::StrCat("no monitor is connected to ", device));
}

}  // namespace

ShimCore::ShimCore(ShimCoreOptions options)
    : options_(std::move(options)), after_loss_(options_.after_loss) {}

absl::Status ShimCore::Apply(const v1::Fence& fence, const v1::DesiredVirtualMachine* machine,
                             const std::vector<v1::DesiredBinding>& bindings, absl::Time now) {
  RETURN_IF_ERROR(fence_.Check(fence));
  RETURN_IF_ERROR(CheckOwn(machine, bindings));
  fence_.Keep(fence);
  if (machine != nullptr) TakeMachine(*machine);
  for (const v1::DesiredBinding& binding : bindings) bindings_.Take(binding, now);
  Settle(now);
  return absl::OkStatus();
}

absl::Status ShimCore::CheckOwn(const v1::DesiredVirtualMachine* machine,
                                const std::vector<v1::DesiredBinding>& bindings) const {
  if (machine != nullptr && machine->uid() != options_.vm_uid) {
    return absl::InvalidArgumentError(
        absl::StrCat("virtual machine ", machine->uid(), " is not that of this shim"));
  }
  for (const v1::DesiredBinding& binding : bindings) {
    if (binding.vm_uid() != options_.vm_uid || binding.uid().empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("binding ", binding.uid(), " is not of this shim's machine"));
    }
  }
  return absl::OkStatus();
}

void ShimCore::TakeMachine(const v1::DesiredVirtualMachine& machine) {
  told_machine_.reset();  // whoever asks is answered, also the second time
  const bool is_old = machine_.has_value() && machine.generation() < machine_->generation;
  const bool is_new = !machine_.has_value() || machine.generation() > machine_->generation ||
                      (machine.generation() == machine_->generation && machine.absent());
  if (is_old) return;
  if (is_new) {
    machine_ = Machine{machine.generation(), machine.absent(), {}, {}};
    if (!machine.absent()) {
      machine_->devices.insert(machine.devices().begin(), machine.devices().end());
    }
  }
  machine_->unplugged = {machine.unplugged_devices().begin(), machine.unplugged_devices().end()};
  ForgetFailures<AttachDevice>();
}

bool ShimCore::OwnsDevice(const Bdf& device) const {
  return machine_.has_value() && machine_->devices.contains(device);
}

bool ShimCore::IsUnplugged(const Bdf& device) const {
  return machine_.has_value() && machine_->unplugged.contains(device);
}

void ShimCore::PrepareMonitor(const Bdf& device) {
  failures_.erase(AttachDevice{device});
  plan_is_old_ = true;
}

absl::StatusOr<std::string> ShimCore::ConnectMonitor(const Bdf& device,
                                                     const std::string& fresh_instance,
                                                     absl::Time now) {
  if (!OwnsDevice(device) || !held_.devices.contains(device)) return NotAttached(device);
  if (!monitors_.insert(device).second) {
    return absl::AlreadyExistsError(absl::StrCat("a monitor is connected to ", device));
  }
  if (vm_instance_.empty()) vm_instance_ = fresh_instance;
  after_loss_ = false;
  Settle(now);
  return vm_instance_;
}

void ShimCore::DisconnectMonitor(const Bdf& device, absl::Time now) {
  if (monitors_.erase(device) == 0) return;
  memory_.Clear(device);
  if (resets_.erase(device) > 0) {
    reset_results_[device] = absl::AbortedError("the monitor disconnected");
  }
  ForgetFailures<MapRegion>();
  bindings_.EndDevice(device, "VM_INSTANCE_GONE");
  if (monitors_.empty()) EndInstance("");
  Settle(now);
}

void ShimCore::EndInstance(const std::string& fresh_instance) {
  bindings_.EndAll("VM_INSTANCE_GONE");
  vm_instance_ = fresh_instance;
}

absl::Status ShimCore::MapMemory(const Bdf& device, const MemoryRegion& region, absl::Time now) {
  if (!monitors_.contains(device)) return NoMonitor(device);
  RETURN_IF_ERROR(memory_.Add(device, region));
  ForgetFailures<MapRegion>();
  Settle(now);
  return absl::OkStatus();
}

absl::Status ShimCore::RecordMemory(const Bdf& device, const MemoryRegion& region,
                                    absl::Status problem, absl::Time now) {
  if (!monitors_.contains(device)) return NoMonitor(device);
  RETURN_IF_ERROR(memory_.Record(device, region, std::move(problem)));
  ForgetFailures<MapRegion>();
  Settle(now);
  return absl::OkStatus();
}

absl::StatusOr<MemoryRegion> ShimCore::UnmapMemory(const Bdf& device, uint64_t guest_address,
                                                   uint64_t size, absl::Time now) {
  ASSIGN_OR_RETURN(const MemoryRegion region, memory_.Remove(device, guest_address, size));
  ForgetFailures<MapRegion>();
  ForgetFailures<UnmapRegion>();
  Settle(now);
  return region;
}

absl::Status ShimCore::Reset(const Bdf& device, const std::string& fresh_instance, absl::Time now) {
  if (!monitors_.contains(device)) return NoMonitor(device);
  if (!held_.devices.contains(device)) return NotAttached(device);
  if (!resets_.insert(device).second) {
    return absl::FailedPreconditionError(absl::StrCat("a reset of ", device, " runs"));
  }
  ForgetFailures<UnbindTable>();
  EndInstance(fresh_instance);
  Settle(now);
  return absl::OkStatus();
}

std::optional<absl::Status> ShimCore::AttachOutcome(const Bdf& device) const {
  if (!OwnsDevice(device)) return NotAttached(device);
  if (IsUnplugged(device)) return Unplugged(device);
  if (held_.devices.contains(device)) return absl::OkStatus();
  const auto failure = failures_.find(AttachDevice{device});
  if (failure != failures_.end()) return failure->second.status;
  return std::nullopt;
}

std::optional<absl::Status> ShimCore::MapOutcome(const Bdf& device,
                                                 const MemoryRegion& region) const {
  const auto mapped = held_.memory.find(device);
  if (mapped != held_.memory.end() && mapped->second.contains(region)) return absl::OkStatus();
  if (!memory_.IsWanted(device, region)) return absl::AbortedError("the monitor disconnected");
  const auto failure = failures_.find(MapRegion{device, region});
  if (failure != failures_.end()) return failure->second.status;
  std::optional<absl::Status> attached = AttachOutcome(device);
  return attached.has_value() && attached->ok() ? std::nullopt : attached;
}

std::optional<absl::Status> ShimCore::UnmapOutcome(const Bdf& device,
                                                   const MemoryRegion& region) const {
  if (running_ == Step(MapRegion{device, region})) return std::nullopt;
  const auto mapped = held_.memory.find(device);
  if (mapped == held_.memory.end() || !mapped->second.contains(region)) return absl::OkStatus();
  const auto failure = failures_.find(UnmapRegion{device, region});
  if (failure != failures_.end()) return failure->second.status;
  return std::nullopt;
}

std::optional<absl::Status> ShimCore::ResetOutcome(const Bdf& device) const {
  if (resets_.contains(device)) return std::nullopt;
  const auto result = reset_results_.find(device);
  return result == reset_results_.end() ? absl::OkStatus() : result->second;
}

ShimReport ShimCore::TakeReport() {
  return {std::exchange(machine_answers_, {}), bindings_.TakeAnswers()};
}

ShimInventory ShimCore::Inventory(absl::Time now) const {
  ShimInventory inventory;
  inventory.fence = fence_.highest();
  v1::HeldVirtualMachine& machine = inventory.virtual_machine;
  machine.set_name(options_.vm_name);
  machine.set_uid(options_.vm_uid);
  if (machine_.has_value()) machine.set_generation(machine_->generation);
  machine.set_vm_instance(vm_instance_);
  if (const std::optional<v1::Failure> failure = MemoryFailure()) {
    *machine.mutable_memory_failure() = *failure;
  }
  inventory.bindings = bindings_.Known(now);
  inventory.held = held_;
  inventory.capabilities = capabilities_;
  inventory.keys = bindings_.Keys();
  return inventory;
}

bool ShimCore::UsesMemory(uint64_t user_address) const {
  for (const auto& [device, regions] : held_.memory) {
    for (const MemoryRegion& region : regions) {
      if (region.user_address == user_address) return true;
    }
  }
  for (const Bdf& device : monitors_) {
    for (const MemoryRegion& region : memory_.Wanted(device)) {
      if (region.user_address == user_address) return true;
    }
  }
  return false;
}

bool ShimCore::HoldsNothing() const {
  return !running_.has_value() && held_ == AddressSpaceState();
}

}  // namespace nestor::agent
