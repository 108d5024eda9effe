// What keeps devices from nesting, decided from what was probed. Pure.
#pragma once

#include <string>
#include <vector>

#include "agent/vfio/pci_inventory.h"
#include "nestor/v1/host_check.pb.h"

namespace nestor::agent {

// A device with what was found about it and around it.
struct ProbedDevice {
  DeviceFacts facts;
  std::string backend;                     // IommuBackend::name() of the one that probed
  std::string iommu;                       // unit in front of it; empty: none
  std::vector<v1::GroupSibling> siblings;  // of facts.function.group_siblings
};

// `host` without devices, completed by the judgement of each. What the backend said about a
// device is believed. Where it stopped at the first obstacle, the facts of device and host
// show the others, so that all can be repaired at once.
v1::HostCheck Judge(const v1::HostCheck& host, const std::vector<ProbedDevice>& devices);

}  // namespace nestor::agent
