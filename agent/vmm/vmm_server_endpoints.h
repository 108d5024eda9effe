// The monitors' sockets of this process as the port that the reconciler knows.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "agent/shim/vmm_endpoints.h"
#include "agent/vmm/vmm_server.h"

namespace nestor::agent {

// Thread-safe.
class VmmServerEndpoints final : public VmmEndpoints {
 public:
  // `server` must outlive this.
  explicit VmmServerEndpoints(VmmServer& server) : server_(server) {}

  // Errors as VmmServer::AddDevice.
  absl::Status Open(const std::string& vm_name, const Bdf& device,
                    std::shared_ptr<Shim> shim) override {
    absl::Status status = server_.AddDevice(vm_name, device, std::move(shim));
    const std::lock_guard lock(mutex_);
    if (status.ok()) opened_[vm_name].insert(device);
    return status;
  }
  void Close(const std::string& vm_name, const Bdf& device) override {
    server_.RemoveDevice(vm_name, device);
    const std::lock_guard lock(mutex_);
    opened_[vm_name].erase(device);
    if (opened_[vm_name].empty()) opened_.erase(vm_name);
  }
  std::set<Bdf> Opened(const std::string& vm_name) override {
    const std::lock_guard lock(mutex_);
    const auto found = opened_.find(vm_name);
    return found == opened_.end() ? std::set<Bdf>() : found->second;
  }

 private:
  VmmServer& server_;
  std::mutex mutex_;
  std::map<std::string, std::set<Bdf>> opened_;  // devices, by virtual machine
};

}  // namespace nestor::agent
