// Test only: what a nestor-shim process has, on threads of the test.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "agent/kernel/syscalls.h"
#include "agent/shim/inline_shim.h"
#include "agent/shim/packet_socket.h"
#include "agent/shim/process_shim.h"
#include "agent/shim/shim_service.h"
#include "agent/vfio/iommu_backend.h"
#include "api/support/clock.h"

namespace nestor::agent {

// Endpoints without sockets.
class NoEndpoints final : public VmmEndpoints {
 public:
  absl::Status Open(const std::string&, const Bdf& device, std::shared_ptr<Shim>) override {
    opened_.insert(device);
    return absl::OkStatus();
  }
  void Close(const std::string&, const Bdf& device) override { opened_.erase(device); }
  std::set<Bdf> Opened(const std::string&) override { return opened_; }

 private:
  std::set<Bdf> opened_;  // on the service's thread
};

// Serves the shim of one machine at `socket` until it goes or is retired.
class TestShimProcess {
 public:
  TestShimProcess(const std::string& vm_name, const std::string& vm_uid, const std::string& socket,
                  IommuBackend& backend, kernel::Syscalls& syscalls, InlineShimOptions options)
      : service_({vm_name, vm_uid, "test"}, *ListenForPackets(socket)),
        launcher_(
            backend, syscalls, clock_,
            [this](const std::string&, ShimReport report) { service_.Report(std::move(report)); },
            WithSteps(std::move(options))),
        shim_(*launcher_.Launch(vm_name, vm_uid)) {
    thread_ = std::thread([this, vm_uid] {
      service_.Run({*shim_, endpoints_, [&] { return launcher_.Retire(vm_uid); }});
    });
  }
  ~TestShimProcess() {
    service_.Stop();
    thread_.join();
  }

 private:
  InlineShimOptions WithSteps(InlineShimOptions options) {
    options.on_step = [this](const Step& step, const StepResult& result) {
      service_.ReportStep(step, result);
    };
    return options;
  }

  SystemClock clock_;
  ShimService service_;
  InlineShimLauncher launcher_;
  std::shared_ptr<Shim> shim_;
  NoEndpoints endpoints_;
  std::thread thread_;
};

}  // namespace nestor::agent
