// Where virtual machine monitors reach a shim: one socket per device.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "agent/core/host_state.h"
#include "agent/shim/shim.h"

namespace nestor::agent {

class VmmEndpoints {
 public:
  virtual ~VmmEndpoints() = default;
  // Listens for the monitor of `device`. An error leaves nothing behind.
  virtual absl::Status Open(const std::string& vm_name, const Bdf& device,
                            std::shared_ptr<Shim> shim) = 0;
  // Stops listening and drops the connection. Unknown devices are ignored.
  virtual void Close(const std::string& vm_name, const Bdf& device) = 0;
  // The devices that are open, perhaps since before this process.
  virtual std::set<Bdf> Opened(const std::string& vm_name) = 0;
};

}  // namespace nestor::agent
