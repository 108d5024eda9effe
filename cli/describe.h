// Everything about one resource, for people.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "nestor/v1/pasid_binding_service.pb.h"
#include "nestor/v1/resources.pb.h"

namespace nestor::cli {

// Each ends with a newline; `now` is for ages.
std::string Describe(const v1::Host& host, absl::Time now);
std::string Describe(const v1::Device& device);
std::string Describe(const v1::VirtualMachine& machine, absl::Time now);
std::string Describe(const v1::PasidBinding& binding, absl::Time now);

// The ladder of a binding: each rung with its time, the first not reached, the kernel call
// that failed, the likely cause and one next step.
std::string Explain(const v1::ExplainPasidBindingResponse& explanation);
// What happened to a binding: a line for each event.
std::string Timeline(const v1::GetPasidBindingTimelineResponse& timeline);

}  // namespace nestor::cli
