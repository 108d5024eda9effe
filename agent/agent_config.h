// What nestor-agent was told on its command line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/shim/shim_message.h"
#include "agent/vfio/backend_choice.h"
#include "api/support/program_options.h"
#include "api/support/tls_credentials.h"

namespace nestor::agent {

struct AgentConfig {
  std::string host;
  std::string server = "unix:/run/nestor/agents.sock";
  std::string run_dir = "/run/nestor-agent";
  std::string kernel = "linux";
  int sim_devices = 2;
  BackendChoice iommu = BackendChoice::kAuto;
  bool standalone = false;
  std::vector<std::string> prepare_devices;
  int device_rescan_seconds = 10;
  std::string shim = "inline";
  std::string shim_program;  // empty: nestor-shim beside this program
  uint32_t shim_protocol = kNewestShimProtocol;
  TransportSecurity security;
  WatchOptions watch;
};

}  // namespace nestor::agent
