// Virtual time, and everything that happens in it: one thread, one order, from one seed.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "api/support/clock.h"

namespace nestor::simulation {

// Choices of a seed: equal seeds make equal choices, on every machine.
class Choices {
 public:
  explicit Choices(uint64_t seed) : engine_(seed) {}

  // In [0, limit); limit > 0.
  uint64_t Below(uint64_t limit) { return engine_() % limit; }
  bool Percent(uint64_t chance) { return Below(100) < chance; }
  // In [least, most], in microseconds.
  absl::Duration Between(absl::Duration least, absl::Duration most) {
    const auto span = static_cast<uint64_t>(absl::ToInt64Microseconds(most - least));
    return least + absl::Microseconds(static_cast<int64_t>(Below(span + 1)));
  }
  template <typename T>
  const T& Among(const std::vector<T>& values) {
    return values[Below(values.size())];
  }

 private:
  std::mt19937_64 engine_;
};

// The clock of all simulated machines, and the events that are to come.
class Scheduler final : public Clock {
 public:
  explicit Scheduler(uint64_t seed) : choices_(seed) {}

  absl::Time Now() const override { return now_; }
  Choices& choices() { return choices_; }

  // `function` happens after `delay`; of the same moment, in the order of the calls.
  void After(absl::Duration delay, std::function<void()> function);
  // The next event happens. False: there is none, or it is later than `end`, which it then is.
  bool Step(absl::Time end);

  // A line of the trace, with the time. Only the newest lines are kept.
  template <typename... Parts>
  void Note(const Parts&... parts) {
    Remember(absl::StrCat(parts...));
  }
  const std::deque<std::string>& trace() const { return trace_; }
  // Of all lines ever noted: equal runs have equal digests.
  uint64_t trace_digest() const { return trace_digest_; }
  // A UUID that no other call gives.
  std::string NewUuid();

 private:
  void Remember(const std::string& line);

  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
  Choices choices_;
  uint64_t uuids_ = 0;
  std::multimap<absl::Time, std::function<void()>> events_;
  std::deque<std::string> trace_;
  uint64_t trace_digest_ = 0;
};

}  // namespace nestor::simulation
