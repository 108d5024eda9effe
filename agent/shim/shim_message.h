// The values of the Shim port as its protocol carries them, and the way back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "agent/core/host_state.h"
#include "agent/shim/packet_socket.h"
#include "agent/shim/shim.h"
#include "agent/shim/shim_protocol.pb.h"

namespace nestor::agent {

// The versions of the protocol that this build speaks.
inline constexpr uint32_t kOldestShimProtocol = 1;
inline constexpr uint32_t kNewestShimProtocol = 1;

// Where a list is cut into messages: below kMaxPacket by what may stand around it.
inline constexpr size_t kPageBytes = kMaxPacket - (8 << 10);

wire::Status ToWire(const absl::Status& status);
absl::Status FromWire(const wire::Status& status);

// `memory`'s descriptor travels beside the message.
wire::MapMemory ToWire(const Bdf& device, const GuestMemory& memory);

// Pages of at most kPageBytes, at least one; merged they are all of it.
std::vector<wire::Inventory> ToPages(const ShimInventory& inventory,
                                     const std::set<Bdf>& endpoints);
ShimInventory FromWire(const wire::Inventory& inventory);
std::vector<wire::Apply> ToPages(const v1::Fence& fence, const v1::DesiredVirtualMachine* machine,
                                 const std::vector<v1::DesiredBinding>& bindings);
std::vector<wire::Report> ToPages(ShimReport report);
ShimReport FromWire(wire::Report report);

}  // namespace nestor::agent
