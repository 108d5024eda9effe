// Every metric that nestor-server shows, named here and nowhere else. docs/metrics.md tells
// people what each means.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nestor/v1/resources.pb.h"
#include "server/core/view.h"
#include "server/service/rpc_observer.h"

namespace nestor::server {

// Thread-safe.
class Metrics final : public prometheus::Collectable, public RpcObserver {
 public:
  // What is counted where it lives, and read when scraped.
  struct Sources {
    std::function<StateCounts()> states;
    std::function<int64_t()> revision;
    std::function<size_t()> queued_transactions;
    std::function<size_t()> agent_sessions;
    std::function<size_t()> unanswered_objects;
  };

  explicit Metrics(const std::string& version);
  // From now on scrapes show them, until they are taken away by an empty Sources. Waits for
  // the scrape that runs.
  void Show(Sources sources);

  void OnBegin(absl::string_view method, bool streaming) override;
  void OnEnd(absl::string_view method, bool streaming, grpc::StatusCode code,
             absl::Duration duration) override;
  // A group of transactions was written to the store.
  void OnGroup(size_t transactions, bool synced, absl::Duration write);
  // A binding came to a rung of its ladder, `after` its change was asked for: PERSISTED,
  // ACCEPTED, PROGRAMMED or FAILED.
  void OnRung(v1::PasidBindingStatus::State rung, absl::Duration after);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  // Of one method: made at its first call.
  struct Method {
    std::string name;  // without the leading slash
    prometheus::Counter* succeeded = nullptr;
    prometheus::Histogram* seconds = nullptr;  // null for streams, which last as they please
    prometheus::Gauge* in_flight = nullptr;
  };

  Method& MethodOf(absl::string_view method, bool streaming);

  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Histogram>& request_seconds_;
  prometheus::Family<prometheus::Gauge>& in_flight_;
  std::map<v1::PasidBindingStatus::State, prometheus::Histogram*> rung_seconds_;
  prometheus::Histogram* synced_write_seconds_;
  prometheus::Histogram* relaxed_write_seconds_;
  prometheus::Histogram& group_transactions_;

  std::mutex methods_mutex_;
  std::map<std::string, Method, std::less<>> methods_;
  mutable std::mutex sources_mutex_;
  Sources sources_;
};

}  // namespace nestor::server
