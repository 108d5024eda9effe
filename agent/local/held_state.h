// What owners of virtual machines hold, as the local API tells it. Pure.
#pragma once

#include <functional>
#include <string>

#include "agent/shim/shim.h"
#include "nestor/v1/local_agent_service.pb.h"

namespace nestor::agent {

// Where the monitor of a device connects; empty: nowhere.
using SocketOf = std::function<std::string(const std::string& vm_name, const Bdf& device)>;

v1::HeldState ToHeldState(const ShimInventory& inventory, const SocketOf& socket_of);

}  // namespace nestor::agent
