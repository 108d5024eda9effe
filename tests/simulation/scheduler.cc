#include "tests/simulation/scheduler.h"

#include "absl/strings/str_format.h"
#include "server/core/decision.h"

namespace nestor::simulation {
namespace {

constexpr size_t kKeptLines = 4000;
const absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);

}  // namespace

void Scheduler::After(absl::Duration delay, std::function<void()> function) {
  events_.emplace(now_ + delay, std::move(function));
}

bool Scheduler::Step(absl::Time end) {
  if (events_.empty() || events_.begin()->first > end) {
    now_ = end;
    return false;
  }
  auto event = events_.extract(events_.begin());
  now_ = event.key();
  event.mapped()();
  return true;
}

void Scheduler::Remember(const std::string& line) {
  trace_.push_back(absl::StrFormat("%12.6f  %s", absl::ToDoubleSeconds(now_ - kStart), line));
  trace_digest_ = trace_digest_ * 31 + server::Fingerprint(trace_.back());
  if (trace_.size() > kKeptLines) trace_.pop_front();
}

std::string Scheduler::NewUuid() {
  return absl::StrFormat("00000000-0000-4000-8000-%012x", ++uuids_);
}

}  // namespace nestor::simulation
