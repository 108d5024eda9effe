// What must hold after each step of a simulated cluster, whatever failed.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "tests/simulation/scheduler.h"

namespace nestor::simulation {

class Judge {
 public:
  explicit Judge(Scheduler& scheduler) : scheduler_(scheduler) {}

  // The first one ends the run.
  void Violated(absl::string_view rule, absl::string_view what) {
    scheduler_.Note("VIOLATED ", rule, ": ", what);
    if (verdict_.empty()) verdict_ = absl::StrCat(rule, ": ", what);
  }
  bool ok() const { return verdict_.empty(); }
  const std::string& verdict() const { return verdict_; }

 private:
  Scheduler& scheduler_;
  std::string verdict_;
};

}  // namespace nestor::simulation
