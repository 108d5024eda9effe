// Every metric that nestor-agent shows, named here and nowhere else. docs/metrics.md tells
// people what each means.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <cstdint>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/vfio/pci_inventory.h"
#include "nestor/v1/agent_service.pb.h"

namespace nestor::agent {

// Thread-safe.
class Metrics final : public prometheus::Collectable {
 public:
  explicit Metrics(const std::string& version);
  // The host's devices are these now.
  void OnDevices(const std::vector<DeviceFacts>& devices);
  // A device was reset, or could not be.
  void OnReset(const absl::Status& outcome);
  // From now on scrapes show how many shims run; an empty function takes it away.
  void ShowShims(std::function<size_t()> count);

  // A session with the server began with `epoch`, or ended.
  void OnSession(bool connected, int64_t epoch);
  // A step on a machine's kernel objects was done: its NameOf, how long its calls took, and what
  // became of it.
  void OnStep(const std::string& step, absl::Duration duration, const absl::Status& status);
  // A shim answered for a binding.
  void OnAnswer(v1::Result::Outcome outcome);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  prometheus::Registry registry_;
  prometheus::Gauge& connected_;
  prometheus::Gauge& epoch_;
  prometheus::Counter& sessions_;
  prometheus::Family<prometheus::Histogram>& step_seconds_;
  prometheus::Family<prometheus::Counter>& kernel_errors_;
  prometheus::Family<prometheus::Counter>& answers_;
  prometheus::Family<prometheus::Gauge>& devices_;
  prometheus::Family<prometheus::Counter>& resets_;

  std::mutex reasons_mutex_;
  std::set<std::string> reasons_;  // that devices_ has shown

  mutable std::mutex shims_mutex_;
  std::function<size_t()> shims_;
};

}  // namespace nestor::agent
