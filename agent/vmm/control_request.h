// What the control socket of a virtual machine answers (nestor_control.h).
#pragma once

#include <functional>
#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "agent/core/host_state.h"
#include "agent/shim/shim.h"

namespace nestor::agent {

// Sends one reply; any thread, perhaps before HandleControlRequest returns.
using ControlReply = std::function<void(std::string message)>;

// Answers one packet, exactly once. `sockets` says where the monitor of each of the machine's
// devices connects. `shim` is asked for what it holds; an invalidation is answered when the
// kernel has done it.
void HandleControlRequest(absl::string_view packet, const std::map<Bdf, std::string>& sockets,
                          Shim& shim, ControlReply reply);

}  // namespace nestor::agent
