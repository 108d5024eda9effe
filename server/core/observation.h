// What an agent's answer means for the status that the API shows.
#pragma once

#include <map>
#include <string>

#include "nestor/v1/agent_service.pb.h"
#include "nestor/v1/resources.pb.h"

namespace nestor::server {

// The observed status of a binding after `result`. `before` is the status observed so far;
// of the same generation it keeps the rungs already reached. State, conditions and
// effective_pasid that follow from intent are filled by the view, not here.
// `result.outcome` is not ABSENT or SUPERSEDED.
v1::PasidBindingStatus ObserveBinding(const v1::Result& result,
                                      const v1::PasidBindingStatus& before);

// Whether an answer tells anything that is worth a write: a plain ACCEPTED is followed at
// once by the answer of the kernel call, and a Hello rebuilds it.
bool IsWorthStoring(const v1::Result& result);

// The row of each device of an inventory, by BDF, each once. The names in it are checked.
std::map<std::string, std::string> DeviceRows(const v1::Inventory& inventory);

// The observed status of a virtual machine after `result`, which is not `absent`.
v1::VirtualMachineStatus ObserveMachine(const v1::VirtualMachineResult& result);

}  // namespace nestor::server
