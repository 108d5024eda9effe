// Whether a binding may be programmed now, and if not, why.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "agent/core/host_state.h"
#include "agent/shim/binding_record.h"
#include "nestor/v1/agent_service.pb.h"

namespace nestor::agent {

// What a machine's device allows.
struct DeviceSituation {
  std::optional<DeviceCapabilities> capabilities;  // set once it is attached
  std::optional<v1::Failure> attach_failure;
  bool unplugged = false;  // the host has lost it
  bool monitor_connected = false;
  bool has_memory = false;  // some guest memory is in its stage 2
};

// What a machine allows.
struct MachineSituation {
  bool known = false;                         // its intent has arrived
  std::map<Bdf, DeviceSituation> devices;     // those that it should have
  std::string vm_instance;                    // empty: no guest runs
  std::optional<v1::Failure> memory_failure;  // some memory is not mapped
  bool replace_has_gap = false;               // of the kernel interface
  bool after_loss = false;                    // an earlier owner died, and its monitor is not back
};

// Why a generation is not to be programmed.
struct Refusal {
  v1::Result::Outcome outcome = v1::Result::OUTCOME_UNSPECIFIED;  // ACCEPTED or FAILED
  v1::Failure failure;                                            // PERMANENT: for good
};

// Judges the newest generation of a binding that is wanted. Nothing: program it.
std::optional<Refusal> Judge(const BindingRecord& record, const MachineSituation& machine);

}  // namespace nestor::agent
