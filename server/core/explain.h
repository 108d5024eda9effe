// Why a binding stands where it stands, in a person's words.
#pragma once

#include "nestor/v1/pasid_binding_service.pb.h"
#include "server/core/view.h"

namespace nestor::server {

// `name` is a binding of the view. Says the rungs, the first unmet, its reason, the likely
// cause and one next step.
v1::ExplainPasidBindingResponse Explain(const View& view, absl::string_view name);

// The same in one line, for the message of a timed-out wait.
std::string ExplainShortly(const v1::ExplainPasidBindingResponse& explanation);

}  // namespace nestor::server
