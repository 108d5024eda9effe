#include "server/metrics.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "api/support/monitoring.h"
#include "server/core/filter.h"

namespace nestor::server {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using Buckets = prometheus::Histogram::BucketBoundaries;

// From what the fastest call in memory takes to the longest that a client waits.
Buckets CallSeconds() {
  return {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
          0.05,   0.1,     0.25,   0.5,   1,      2.5,   5,    10};
}
// A binding may wait for its agent, its guest, or a person.
Buckets RungSeconds() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 120, 600};
}
Buckets GroupSizes() { return {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096}; }

prometheus::MetricFamily GaugeFamily(const std::string& name, const std::string& help) {
  return {name, help, prometheus::MetricType::Gauge, {}};
}

void Add(double value, prometheus::MetricFamily& family,
         std::vector<prometheus::ClientMetric::Label> labels = {}) {
  prometheus::ClientMetric& metric = family.metric.emplace_back();
  metric.label = std::move(labels);
  metric.gauge.value = value;
}

// "never_seen" of STATE_NEVER_SEEN.
std::string StateLabel(const google::protobuf::EnumDescriptor& states, int state) {
  return absl::AsciiStrToLower(ShortStateName(states, state));
}

// All states, also those that nothing is in: a series that appears only with its first
// resource has no rate before that.
template <typename Counts>
prometheus::MetricFamily ByState(const std::string& family_name, const std::string& help,
                                 const Counts& counts,
                                 const google::protobuf::EnumDescriptor& states) {
  prometheus::MetricFamily family = GaugeFamily(family_name, help);
  for (size_t state = 1; state < counts.size(); ++state) {
    Add(static_cast<double>(counts[state]), family,
        {{"state", StateLabel(states, static_cast<int>(state))}});
  }
  return family;
}

// gRPC's codes have the names and numbers of Abseil's.
std::string CodeName(grpc::StatusCode code) {
  const std::string name = absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
  return name.empty() ? "UNKNOWN" : name;
}

prometheus::MetricFamily Single(const std::string& name, const std::string& help, double value) {
  prometheus::MetricFamily family = GaugeFamily(name, help);
  Add(value, family);
  return family;
}

}  // namespace

Metrics::Metrics(const std::string& version)
    : requests_(BuildCounter()
                    .Name("nestor_rpc_requests_total")
                    .Help("Calls that ended, by method and gRPC code.")
                    .Register(registry_)),
      request_seconds_(BuildHistogram()
                           .Name("nestor_rpc_duration_seconds")
                           .Help("How long unary calls took, by method.")
                           .Register(registry_)),
      in_flight_(BuildGauge()
                     .Name("nestor_rpc_in_flight")
                     .Help("Calls that run now, by method; streams such as Sync and Watch, too.")
                     .Register(registry_)),
      group_transactions_(BuildHistogram()
                              .Name("nestor_store_group_transactions")
                              .Help("Transactions that the store wrote together.")
                              .Register(registry_)
                              .Add({}, GroupSizes())) {
  AddBuildInfo(registry_, "nestor-server", version);
  auto& write_seconds = BuildHistogram()
                            .Name("nestor_store_write_seconds")
                            .Help("How long the store took to write a group of transactions.")
                            .Register(registry_);
  synced_write_seconds_ = &write_seconds.Add({{"synced", "true"}}, CallSeconds());
  relaxed_write_seconds_ = &write_seconds.Add({{"synced", "false"}}, CallSeconds());
  auto& rung_seconds = BuildHistogram()
                           .Name("nestor_binding_rung_seconds")
                           .Help("From a change of a binding to each rung of its ladder.")
                           .Register(registry_);
  using State = v1::PasidBindingStatus;
  for (const auto rung : {State::STATE_PERSISTED, State::STATE_ACCEPTED, State::STATE_PROGRAMMED,
                          State::STATE_FAILED}) {
    rung_seconds_[rung] =
        &rung_seconds.Add({{"rung", StateLabel(*State::State_descriptor(), rung)}}, RungSeconds());
  }
}

void Metrics::Show(Sources sources) {
  std::lock_guard lock(sources_mutex_);
  sources_ = std::move(sources);
}

Metrics::Method& Metrics::MethodOf(absl::string_view method, bool streaming) {
  std::lock_guard lock(methods_mutex_);
  if (auto it = methods_.find(method); it != methods_.end()) return it->second;
  Method& made = methods_[std::string(method)];
  made.name = std::string(absl::StripPrefix(method, "/"));
  made.in_flight = &in_flight_.Add({{"method", made.name}});
  if (!streaming) made.seconds = &request_seconds_.Add({{"method", made.name}}, CallSeconds());
  made.succeeded = &requests_.Add({{"method", made.name}, {"code", "OK"}});
  return made;
}

void Metrics::OnBegin(absl::string_view method, bool streaming) {
  MethodOf(method, streaming).in_flight->Increment();
}

void Metrics::OnEnd(absl::string_view method, bool streaming, grpc::StatusCode code,
                    absl::Duration duration) {
  Method& found = MethodOf(method, streaming);
  found.in_flight->Decrement();
  if (code == grpc::OK) {
    found.succeeded->Increment();
  } else {
    requests_.Add({{"method", found.name}, {"code", CodeName(code)}}).Increment();
  }
  if (found.seconds != nullptr) found.seconds->Observe(absl::ToDoubleSeconds(duration));
}

void Metrics::OnGroup(size_t transactions, bool synced, absl::Duration write) {
  (synced ? synced_write_seconds_ : relaxed_write_seconds_)->Observe(absl::ToDoubleSeconds(write));
  group_transactions_.Observe(static_cast<double>(transactions));
}

void Metrics::OnRung(v1::PasidBindingStatus::State rung, absl::Duration after) {
  rung_seconds_.at(rung)->Observe(absl::ToDoubleSeconds(after));
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const {
  std::vector<prometheus::MetricFamily> families = registry_.Collect();
  std::lock_guard lock(sources_mutex_);
  if (!sources_.states) return families;
  const StateCounts counts = sources_.states();
  families.push_back(ByState("nestor_bindings", "PASID bindings by the state that they show.",
                             counts.bindings, *v1::PasidBindingStatus::State_descriptor()));
  families.push_back(
      ByState("nestor_virtual_machines", "Virtual machines by the state that they show.",
              counts.virtual_machines, *v1::VirtualMachineStatus::State_descriptor()));
  families.push_back(ByState("nestor_hosts", "Hosts by the state that they show.", counts.hosts,
                             *v1::HostStatus::State_descriptor()));
  families.push_back(Single("nestor_store_revision", "The newest commit of the store.",
                            static_cast<double>(sources_.revision())));
  families.push_back(Single("nestor_store_queued_transactions",
                            "Transactions that wait for the store.",
                            static_cast<double>(sources_.queued_transactions())));
  families.push_back(Single("nestor_agent_sessions", "Agents connected to this server.",
                            static_cast<double>(sources_.agent_sessions())));
  families.push_back(Single("nestor_unanswered_objects",
                            "Objects that agents were or will be told of and have not answered.",
                            static_cast<double>(sources_.unanswered_objects())));
  return families;
}

}  // namespace nestor::server
