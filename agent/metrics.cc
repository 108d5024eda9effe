#include "agent/metrics.h"

#include <map>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "agent/core/kernel_error.h"
#include "api/support/monitoring.h"

namespace nestor::agent {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;

// From a cheap kernel call to one that an IOMMU driver is lost in.
prometheus::Histogram::BucketBoundaries StepSeconds() {
  return {0.000005, 0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001,
          0.0025,   0.005,   0.01,     0.05,    0.25,   1,       5};
}

}  // namespace

Metrics::Metrics(const std::string& version)
    : connected_(BuildGauge()
                     .Name("nestor_agent_session_connected")
                     .Help("1 while the server has welcomed this agent.")
                     .Register(registry_)
                     .Add({})),
      epoch_(BuildGauge()
                 .Name("nestor_agent_session_epoch")
                 .Help("The epoch of the newest session.")
                 .Register(registry_)
                 .Add({})),
      sessions_(BuildCounter()
                    .Name("nestor_agent_sessions_total")
                    .Help("Sessions that began.")
                    .Register(registry_)
                    .Add({})),
      step_seconds_(BuildHistogram()
                        .Name("nestor_agent_step_seconds")
                        .Help("How long the kernel calls of a step took, by step.")
                        .Register(registry_)),
      kernel_errors_(BuildCounter()
                         .Name("nestor_agent_kernel_errors_total")
                         .Help("Kernel calls that failed, by operation and errno.")
                         .Register(registry_)),
      answers_(BuildCounter()
                   .Name("nestor_agent_binding_answers_total")
                   .Help("Answers of the shims for bindings, by outcome.")
                   .Register(registry_)),
      devices_(
          BuildGauge()
              .Name("nestor_agent_devices")
              .Help("Devices for virtual machines, by what keeps them from nesting; the reason "
                    "is empty where nothing does.")
              .Register(registry_)),
      resets_(BuildCounter()
                  .Name("nestor_agent_device_resets_total")
                  .Help("Resets of devices on their way into a machine or out of it, or in "
                        "quarantine, by result.")
                  .Register(registry_)),
      reasons_({""}) {
  AddBuildInfo(registry_, "nestor-agent", version);
  for (const char* result : {"ok", "failed", "unsupported"}) resets_.Add({{"result", result}});
  OnDevices({});
}

void Metrics::OnDevices(const std::vector<DeviceFacts>& devices) {
  std::map<std::string, int> counts;
  for (const DeviceFacts& device : devices) ++counts[device.capabilities.reason];
  const std::lock_guard lock(reasons_mutex_);
  for (const auto& [reason, count] : counts) reasons_.insert(reason);
  for (const std::string& reason : reasons_) {
    devices_.Add({{"reason", reason}}).Set(counts[reason]);
  }
}

void Metrics::OnReset(const absl::Status& outcome) {
  const char* result = outcome.ok()                     ? "ok"
                       : absl::IsUnimplemented(outcome) ? "unsupported"
                                                        : "failed";
  resets_.Add({{"result", result}}).Increment();
}

void Metrics::ShowShims(std::function<size_t()> count) {
  std::lock_guard lock(shims_mutex_);
  shims_ = std::move(count);
}

void Metrics::OnSession(bool connected, int64_t epoch) {
  connected_.Set(connected ? 1 : 0);
  if (!connected) return;
  epoch_.Set(static_cast<double>(epoch));
  sessions_.Increment();
}

void Metrics::OnStep(const std::string& step, absl::Duration duration, const absl::Status& status) {
  step_seconds_.Add({{"step", step}}, StepSeconds()).Observe(absl::ToDoubleSeconds(duration));
  if (const std::optional<KernelError> error = GetKernelError(status)) {
    kernel_errors_.Add({{"operation", error->operation}, {"errno", ErrnoName(error->error_number)}})
        .Increment();
  }
}

void Metrics::OnAnswer(v1::Result::Outcome outcome) {
  answers_
      .Add({{"outcome", absl::AsciiStrToLower(
                            absl::StripPrefix(v1::Result::Outcome_Name(outcome), "OUTCOME_"))}})
      .Increment();
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const {
  std::vector<prometheus::MetricFamily> families = registry_.Collect();
  std::lock_guard lock(shims_mutex_);
  if (!shims_) return families;
  prometheus::MetricFamily shims{"nestor_agent_shims",
                                 "Owners of virtual machines that run.",
                                 prometheus::MetricType::Gauge,
                                 {}};
  shims.metric.emplace_back().gauge.value = static_cast<double>(shims_());
  families.push_back(std::move(shims));
  return families;
}

}  // namespace nestor::agent
