#include "server/core/observation.h"

#include "api/support/resource_name.h"
#include "nestor/storage/v1/rows.pb.h"

namespace nestor::server {
namespace {

v1::PasidBindingStatus::State StateOf(v1::Result::Outcome outcome) {
  switch (outcome) {
    case v1::Result::OUTCOME_ACCEPTED:
      return v1::PasidBindingStatus::STATE_ACCEPTED;
    case v1::Result::OUTCOME_PROGRAMMED:
      return v1::PasidBindingStatus::STATE_PROGRAMMED;
    case v1::Result::OUTCOME_FAILED:
      return v1::PasidBindingStatus::STATE_FAILED;
    case v1::Result::OUTCOME_NOT_PROGRAMMED:
      return v1::PasidBindingStatus::STATE_NOT_PROGRAMMED;
    default:
      return v1::PasidBindingStatus::STATE_UNSPECIFIED;
  }
}

// Reaching a rung implies those below it; each keeps the time it was first reached.
void ClimbTo(const v1::Result& result, v1::LadderTimes* times) {
  if (!times->has_accepted()) *times->mutable_accepted() = result.time();
  if (result.outcome() == v1::Result::OUTCOME_PROGRAMMED) {
    if (!times->has_programmed()) *times->mutable_programmed() = result.time();
    if (result.has_duration()) *times->mutable_program_duration() = result.duration();
  }
  if (result.outcome() == v1::Result::OUTCOME_FAILED) *times->mutable_failed() = result.time();
}

}  // namespace

v1::PasidBindingStatus ObserveBinding(const v1::Result& result,
                                      const v1::PasidBindingStatus& before) {
  v1::PasidBindingStatus status;
  if (before.observed_generation() == result.generation()) *status.mutable_times() = before.times();
  ClimbTo(result, status.mutable_times());
  status.set_state(StateOf(result.outcome()));
  status.set_observed_generation(result.generation());
  status.set_programmed_root(result.programmed_root());
  status.set_programmed_generation(result.programmed_generation());
  status.set_vm_instance(result.vm_instance());
  status.set_attempts(result.attempts());
  if (result.has_failure()) *status.mutable_failure() = result.failure();
  if (result.has_translation_gap()) {
    *status.mutable_last_translation_gap() = result.translation_gap();
  } else if (before.has_last_translation_gap()) {
    *status.mutable_last_translation_gap() = before.last_translation_gap();
  }
  return status;
}

bool IsWorthStoring(const v1::Result& result) {
  return result.outcome() != v1::Result::OUTCOME_ACCEPTED || result.has_failure();
}

v1::VirtualMachineStatus ObserveMachine(const v1::VirtualMachineResult& result) {
  v1::VirtualMachineStatus status;
  status.set_vm_instance(result.vm_instance());
  const bool connected = !result.vm_instance().empty();
  if (result.failure().reason() == "MEMORY_INCOMPLETE") {
    status.set_state(v1::VirtualMachineStatus::STATE_MEMORY_INCOMPLETE);
  } else {
    status.set_state(connected && !result.has_failure() ? v1::VirtualMachineStatus::STATE_READY
                                                        : v1::VirtualMachineStatus::STATE_PENDING);
  }
  v1::Condition& ready = *status.add_conditions();
  ready.set_type("Ready");
  ready.set_observed_generation(result.generation());
  ready.set_status(status.state() == v1::VirtualMachineStatus::STATE_READY
                       ? v1::Condition::TRUTH_TRUE
                       : v1::Condition::TRUTH_FALSE);
  if (result.has_failure()) {
    ready.set_reason(result.failure().reason());
    ready.set_message(result.failure().message());
  } else {
    ready.set_reason(connected ? "VMM_CONNECTED" : "WAITING_FOR_VMM");
    ready.set_message(connected ? "its monitor is connected and guest memory is mapped"
                                : "no virtual machine monitor has connected to its sockets");
  }
  return status;
}

std::map<std::string, std::string> DeviceRows(const v1::Inventory& inventory) {
  std::map<std::string, std::string> rows;
  for (const v1::Device& device : inventory.devices()) {
    storage::v1::DeviceObservedRow row;
    *row.mutable_status() = device.status();
    rows.emplace(DeviceName::Parse(device.name())->bdf, row.SerializeAsString());
  }
  return rows;
}

}  // namespace nestor::server
