// Which functions an operator lets the agent bind to vfio-pci.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/core/host_state.h"
#include "agent/vfio/pci_inventory.h"

namespace nestor::agent {

// Empty: none.
struct PrepareSelection {
  std::set<Bdf> devices;
  std::set<std::pair<uint16_t, uint16_t>> models;  // vendor and device identifier
  bool operator==(const PrepareSelection&) const = default;

  bool empty() const { return devices.empty() && models.empty(); }
  // Bridges are never selected by model.
  bool Selects(const PciFunction& function) const;
};

// Each is an address ("0000:3b:00.0") or a model as `lspci -n` shows it ("8086:0b25").
// INVALID_ARGUMENT: one is neither.
absl::StatusOr<PrepareSelection> ParsePrepareSelection(const std::vector<std::string>& texts);

}  // namespace nestor::agent
