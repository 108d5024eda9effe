// The inventory as the agent protocol carries it.
#pragma once

#include <string>
#include <vector>

#include "agent/vfio/pci_inventory.h"
#include "nestor/v1/agent_service.pb.h"

namespace nestor::agent {

// Of IommuBackend::name().
v1::IommuInterface ToIommuInterface(absl::string_view backend);

// One device; `backend` is IommuBackend::name() of the one that probed it.
v1::DeviceStatus ToDeviceStatus(absl::string_view backend, const DeviceFacts& facts);
// `host` is hosts/{host}.
v1::Inventory ToInventoryMessage(const std::string& host, absl::string_view backend,
                                 const std::vector<DeviceFacts>& devices);

}  // namespace nestor::agent
