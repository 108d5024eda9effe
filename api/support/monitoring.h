// What a program shows to those who watch over it: /metrics, /healthz and /readyz over HTTP.
//
// Plaintext by design: nothing here changes anything or names a tenant.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/registry.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

struct mg_context;

namespace nestor {

// Adds nestor_build_info{program, version}.
void AddBuildInfo(prometheus::Registry& registry, const std::string& program,
                  const std::string& version);

// Besides the program's own metrics it shows what Prometheus' client libraries show of any
// process: process_cpu_seconds_total, process_resident_memory_bytes, process_open_fds,
// process_max_fds, process_start_time_seconds.
class MonitoringServer {
 public:
  // Listens on `address`, HOST:PORT; port 0 takes a free one. `ready` answers /readyz. It and
  // `metrics` are used on threads of this server and must outlive it.
  // INVALID_ARGUMENT: no such address. FAILED_PRECONDITION: it is taken.
  static absl::StatusOr<std::unique_ptr<MonitoringServer>> Start(
      const std::string& address, const prometheus::Collectable& metrics,
      std::function<bool()> ready);
  // Waits for the requests that run.
  ~MonitoringServer();

  // HOST:PORT, with the port that was taken.
  const std::string& address() const { return address_; }

 private:
  MonitoringServer(const prometheus::Collectable& metrics, std::function<bool()> ready)
      : metrics_(metrics), ready_(std::move(ready)) {}

  const prometheus::Collectable& metrics_;
  const std::function<bool()> ready_;
  std::string address_;
  mg_context* context_ = nullptr;
};

}  // namespace nestor
