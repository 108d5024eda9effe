// The agent's parts, joined: the only place where its adapters meet.
#pragma once

#include "absl/status/status.h"
#include "agent/agent_config.h"
#include "api/support/stop_signal.h"

namespace nestor::agent {

// Runs an agent until it is asked to stop. An error: it could not start.
absl::Status RunAgent(const AgentConfig& config, const StopSignal& stop_signal);

}  // namespace nestor::agent
