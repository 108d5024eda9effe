#include "agent/shim/binding_judgement.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "agent/core/retry_policy.h"
#include "agent/shim/failure.h"
#include "agent/vfio/binding_validation.h"

namespace nestor::agent {
namespace {

Refusal Never(absl::string_view reason, absl::string_view message) {
  return {v1::Result::OUTCOME_FAILED, PermanentFailure(reason, message)};
}

Refusal Later(absl::string_view reason, absl::string_view message) {
  return {v1::Result::OUTCOME_ACCEPTED, TransientFailure(reason, message)};
}

Refusal WaitForMonitor(const Bdf& device, const MachineSituation& machine) {
  if (machine.after_loss) {
    return {v1::Result::OUTCOME_FAILED,
            TransientFailure("VMM_RECONNECT_NEEDED",
                             absl::StrCat("the owner of ", device,
                                          " died and the kernel has unbound it; have the virtual "
                                          "machine monitor connect again, or restart it"))};
  }
  return Later("WAITING_FOR_VMM",
               absl::StrCat("no virtual machine monitor has connected to ", device,
                            " and handed over guest memory; start the virtual machine"));
}

bool Holds(const BindingRecord& record) { return record.held.has_value() && !record.held->ending; }

bool ChangesRoot(const BindingRecord& record) {
  return Holds(record) && record.held->table != record.table;
}

// The intent against the guest that runs and against what is bound.
std::optional<Refusal> JudgeIntent(const BindingRecord& record, const MachineSituation& machine) {
  if (!record.required_instance.empty() && record.required_instance != machine.vm_instance) {
    return Never(
        "VM_INSTANCE_MISMATCH",
        absl::StrCat("the page table belongs to vm_instance ", record.required_instance, ", but ",
                     machine.vm_instance.empty() ? "no guest runs"
                                                 : absl::StrCat(machine.vm_instance, " runs")));
  }
  if (ChangesRoot(record) && machine.replace_has_gap && !record.allow_translation_gap) {
    return Never("TRANSLATION_GAP_NOT_ALLOWED",
                 "this kernel interface unbinds the old root before it binds the new one; set "
                 "allow_translation_gap to let DMA of the PASID fault meanwhile");
  }
  return std::nullopt;
}

// The device: is it there, and can it do this?
std::optional<Refusal> JudgeDevice(const BindingRecord& record, const DeviceSituation& device,
                                   const MachineSituation& machine) {
  if (device.unplugged) {
    return Refusal{v1::Result::OUTCOME_FAILED,
                   TransientFailure("DEVICE_UNPLUGGED",
                                    absl::StrCat(record.key.device,
                                                 " is unplugged from the host, or taken from "
                                                 "vfio-pci; it is bound again when it is back"))};
  }
  if (device.attach_failure.has_value()) {
    const v1::Failure& failure = *device.attach_failure;
    const std::string message = absl::StrCat(
        record.key.device, " cannot be attached: ", failure.reason(), ": ", failure.message());
    return failure.kind() == v1::Failure::KIND_PERMANENT ? Never("DEVICE_UNSUITABLE", message)
                                                         : Later("DEVICE_NOT_ATTACHED", message);
  }
  if (!device.capabilities.has_value()) return WaitForMonitor(record.key.device, machine);
  // What cannot nest is for its attach to explain, which may be tried again.
  if (device.capabilities->granularity == NestGranularity::kNone) return std::nullopt;
  const absl::Status status = ValidateBinding(record.key, record.table, *device.capabilities);
  if (status.ok()) return std::nullopt;
  return Never(Classify(status).reason, status.message());
}

// The monitor and the memory that it handed over.
std::optional<Refusal> JudgeMemory(const BindingRecord& record, const DeviceSituation& device,
                                   const MachineSituation& machine) {
  if (machine.memory_failure.has_value()) {
    return Refusal{v1::Result::OUTCOME_FAILED,
                   TransientFailure("MEMORY_INCOMPLETE", machine.memory_failure->message())};
  }
  if (!device.monitor_connected || !device.has_memory) {
    return WaitForMonitor(record.key.device, machine);
  }
  return std::nullopt;
}

}  // namespace

std::optional<Refusal> Judge(const BindingRecord& record, const MachineSituation& machine) {
  if (!machine.known) return WaitForMonitor(record.key.device, machine);
  const auto device = machine.devices.find(record.key.device);
  if (device == machine.devices.end()) {
    return Never("DEVICE_NOT_ATTACHED",
                 absl::StrCat(record.key.device, " is not a device of the virtual machine"));
  }
  // Whatever guest it was meant for is not there now.
  if (machine.after_loss) return WaitForMonitor(record.key.device, machine);
  std::optional<Refusal> refusal = JudgeIntent(record, machine);
  if (!refusal.has_value()) refusal = JudgeDevice(record, device->second, machine);
  // A generation that changes nothing in the kernel needs no memory.
  const bool needs_call = !Holds(record) || ChangesRoot(record);
  if (!refusal.has_value() && needs_call) refusal = JudgeMemory(record, device->second, machine);
  return refusal;
}

}  // namespace nestor::agent
